"""A diagnosis in lines, for a tired person: what is wrong first, what is well in a line each."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from resume_daemon.doctor.diagnosis import by_gravity
from resume_daemon.findings import Severity
from resume_daemon.report.plain import plain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resume_daemon.doctor.diagnosis import Diagnosis

_WIDTH = 14
_PREFLIGHT_FINDINGS = 3
"""Findings that a preflight shows: with its first and its last line they make five."""
_PREFLIGHT_LENGTH = 300
"""Characters of one of them: a launch script's log is read in a terminal."""


def diagnosis_lines(diagnosis: Diagnosis, run: str | None, *, detailed: bool = False) -> list[str]:
    """Return the diagnosis, the themes with the gravest findings first.

    Args:
        diagnosis: What was found.
        run: The run, as the user named it, or None.
        detailed: Whether everything that was looked at is told as well.
    """
    return [plain(line) for line in _lines(diagnosis, run, detailed=detailed)]


def preflight_lines(diagnosis: Diagnosis, run: str) -> list[str]:
    """Return the diagnosis in at most five lines, for the log of a launch script.

    Args:
        diagnosis: What was found.
        run: The run, as the user named it.
    """
    found = by_gravity(tuple(f for section in diagnosis.sections for f in section.findings))
    graver = [finding for finding in found if finding.severity is not Severity.INFO]
    words = verdict_line(diagnosis)
    start = next((s.summary for s in diagnosis.sections if s.name == "checkpoints"), "")
    lead = f"refused: {words}" if diagnosis.failed else f"may start: {start}"
    if graver and not diagnosis.failed:
        lead += f"; {words}"
    lines = [f"{run}: {lead}"]
    lines += [
        f"  {f.code} {f.severity.value}: {_cut(f.message)}" for f in graver[:_PREFLIGHT_FINDINGS]
    ]
    if graver:
        more = len(graver) - _PREFLIGHT_FINDINGS
        rest = f"{more} more; " if more > 0 else ""
        lines.append(f"  {rest}what to do: resume-daemon doctor {shlex.quote(run)}")
    return [plain(line) for line in lines]


def verdict_line(diagnosis: Diagnosis) -> str:
    """Return how many findings there are of each kind."""
    kinds = []
    for severity, word in ((Severity.ERROR, "error"), (Severity.WARNING, "warning")):
        if count := diagnosis.count(severity):
            kinds.append(f"{count} {word}{'s' if count > 1 else ''}")
    return ", ".join(kinds) if kinds else "nothing is wrong"


def _lines(diagnosis: Diagnosis, run: str | None, *, detailed: bool) -> Iterator[str]:
    yield f"{run if run is not None else 'this machine'}: {verdict_line(diagnosis)}"
    for section in diagnosis.gravest_first():
        yield f"{section.name:{_WIDTH}}{section.summary}"
        for finding in by_gravity(section.findings):
            yield f"  {finding.code} {finding.severity.value}: {finding.message}"
            if finding.severity is not Severity.INFO and finding.hint:
                yield f"        {finding.hint}"
        if detailed:
            for name, value in section.facts.items():
                yield from _fact(name, value)


def _fact(name: str, value: Any) -> Iterator[str]:
    """Yield a fact in lines: of a list each item in one of its own."""
    if not isinstance(value, list) or not value:
        yield f"    {name}: {_word(value)}"
        return
    yield f"    {name}:"
    for each in value:
        if isinstance(each, dict) and set(each) == {"name", "value"}:
            yield f"      {each['name']}" + ("" if each["value"] is None else f"={each['value']}")
        elif isinstance(each, dict):
            words = ", ".join(f"{key} {_word(inner)}" for key, inner in each.items())
            yield f"      {words}"
        else:
            yield f"      {each}"


def _word(value: Any) -> str:
    if value is None or value == []:
        return "-"
    if isinstance(value, list):
        return " ".join(str(each) for each in value)
    return str(value)


def _cut(message: str) -> str:
    if len(message) <= _PREFLIGHT_LENGTH:
        return message
    return f"{message[:_PREFLIGHT_LENGTH]}..."
