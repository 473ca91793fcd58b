"""What is wrong with the parameters of a run: facts in, findings out, from one module a theme."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resume_daemon.findings import Finding
    from resume_daemon.parameters.facts import Facts


def check(facts: Facts) -> Iterator[Finding]:  # noqa: ARG001 - the themes are still to come
    """Yield everything that is wrong, or uncertain, about what a run is trained with."""
    yield from ()
