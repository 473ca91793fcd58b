"""Findings and verdicts: what is said about a checkpoint, a state or a run, as values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable


LONGEST_MESSAGE = 1000
"""Characters of a message; a tensor's name alone may have millions."""


class Severity(StrEnum):
    """How much a finding matters; the order of declaration is the order of gravity."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


class Verdict(StrEnum):
    """What a checkpoint is worth to somebody who wants to resume from it."""

    SOUND = "sound"
    DEGRADED = "degraded"
    UNSOUND = "unsound"
    INCOMPLETE = "incomplete"
    ROTATED = "rotated"


@dataclass(frozen=True, slots=True)
class Code:
    """One entry of the catalog, declared beside the check that reports it.

    Attributes:
        id: ``RD`` and three digits, never reused: 1xx files, 2xx weights, 3xx torch files and
            pickles, 4xx agreement of steps, 5xx curriculum, 6xx trackers and drift, 7xx the daemon,
            8xx parameters, the environment and repairs.
        name: A slug, which is also the name of the condition where a code can fire as one.
        severity: The severity unless a finding says otherwise.
        title: One line, without a full stop.
        meaning: What it is and what happens if you resume regardless, in plain words.
        action: What to do next.
        source: The upstream file, issue or measurement behind it, or an empty string.
    """

    id: str
    name: str
    severity: Severity
    title: str
    meaning: str
    action: str
    source: str = ""

    def finding(
        self,
        message: str,
        *,
        file: str | None = None,
        severity: Severity | None = None,
        hint: str | None = None,
    ) -> Finding:
        """Return a finding of this code; ``file`` is relative to the checkpoint.

        A message is cut at ``LONGEST_MESSAGE``: names in it come from files.
        """
        return Finding(
            code=self.id,
            severity=severity or self.severity,
            file=file,
            message=message
            if len(message) <= LONGEST_MESSAGE
            else f"{message[:LONGEST_MESSAGE]}...",
            hint=self.action if hint is None else hint,
        )


@dataclass(frozen=True, slots=True)
class Finding:
    """One fact about a checkpoint, a state or a configuration."""

    code: str
    severity: Severity
    file: str | None
    message: str
    hint: str

    def as_json(self) -> dict[str, Any]:
        """Return the shape that ``--json`` promises."""
        return {
            "code": self.code,
            "severity": self.severity.value,
            "file": self.file,
            "message": self.message,
            "hint": self.hint,
        }


def verdict_of(findings: Iterable[Finding]) -> Verdict:
    """Return the verdict that the gravest finding asks for; no finding above info is sound."""
    severities = {finding.severity for finding in findings}
    if Severity.ERROR in severities:
        return Verdict.UNSOUND
    if Severity.WARNING in severities:
        return Verdict.DEGRADED
    return Verdict.SOUND
