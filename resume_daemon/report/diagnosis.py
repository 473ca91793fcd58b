"""A diagnosis in lines, for a tired person: what is wrong first, what is well in a line each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resume_daemon.doctor.diagnosis import by_gravity
from resume_daemon.findings import Severity
from resume_daemon.report.plain import plain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resume_daemon.doctor.diagnosis import Diagnosis

_WIDTH = 14


def diagnosis_lines(diagnosis: Diagnosis, run: str | None) -> list[str]:
    """Return the diagnosis, the themes with the gravest findings first.

    Args:
        diagnosis: What was found.
        run: The run, as the user named it, or None.
    """
    return [plain(line) for line in _lines(diagnosis, run)]


def verdict_line(diagnosis: Diagnosis) -> str:
    """Return how many findings there are of each kind."""
    kinds = []
    for severity, word in ((Severity.ERROR, "error"), (Severity.WARNING, "warning")):
        if count := diagnosis.count(severity):
            kinds.append(f"{count} {word}{'s' if count > 1 else ''}")
    return ", ".join(kinds) if kinds else "nothing is wrong"


def _lines(diagnosis: Diagnosis, run: str | None) -> Iterator[str]:
    yield f"{run if run is not None else 'this machine'}: {verdict_line(diagnosis)}"
    for section in diagnosis.gravest_first():
        yield f"{section.name:{_WIDTH}}{section.summary}"
        for finding in by_gravity(section.findings):
            yield f"  {finding.code} {finding.severity.value}: {finding.message}"
            if finding.severity is not Severity.INFO and finding.hint:
                yield f"        {finding.hint}"
