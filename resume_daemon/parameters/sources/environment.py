"""The environment of this process, which a trainer started from here would inherit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resume_daemon.parameters.names import canonical
from resume_daemon.parameters.sources.text import value_of
from resume_daemon.parameters.values import Setting, Source, SourceKind

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping


def read_environment(environ: Mapping[str, str], wanted: Collection[str]) -> Iterator[Setting]:
    """Yield the variables that are parameters.

    Args:
        environ: Names and values.
        wanted: Names of parameters as other sources have them; everything else in an environment
            (``PATH``, ``HOME``) is none.
    """
    source = Source(SourceKind.ENVIRONMENT, None, "environment")
    for name in sorted(environ):
        if canonical(name) in wanted:
            yield Setting(name, value_of(environ[name]), source)
