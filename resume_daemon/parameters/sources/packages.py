"""The packages that a trainer runs with, by their metadata; the interpreter is not started."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resume_daemon.doctor.distributions import installed_in
from resume_daemon.doctor.interpreter import named_interpreter

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def versions_of(python: Path | None, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the version of each package that an interpreter has, by name; none without one.

    Raises:
        UsageError: There is no such interpreter.
    """
    if python is None:
        return {}
    installed = installed_in(named_interpreter(python, environ).directories, frozenset())
    return {name: each.version for name, each in installed.first.items() if each.version}
