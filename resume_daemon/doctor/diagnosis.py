"""What an examination found, theme by theme, as values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from resume_daemon.findings import Severity

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from resume_daemon.findings import Finding

_ORDER = {severity: place for place, severity in enumerate(Severity)}


@dataclass(frozen=True, slots=True)
class Section:
    """One theme.

    Attributes:
        name: A word: ``environment``, ``dependencies``, ...
        summary: What was seen, in a sentence, whether or not something is wrong.
        findings: What is wrong or worth knowing.
        facts: What was looked at, as JSON; holds no secret.
    """

    name: str
    summary: str
    findings: tuple[Finding, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def severity(self) -> Severity | None:
        """The gravest severity of its findings, or None where there are none."""
        return min((f.severity for f in self.findings), key=_ORDER.__getitem__, default=None)

    def as_json(self) -> dict[str, Any]:
        """Return the shape that ``doctor --json`` promises."""
        return {
            "name": self.name,
            "summary": self.summary,
            "findings": [finding.as_json() for finding in by_gravity(self.findings)],
            "facts": dict(self.facts),
        }


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """An examination.

    Attributes:
        run: The run, or None where none was given.
        sections: The themes, in the order of examination.
    """

    run: Path | None
    sections: tuple[Section, ...]

    @property
    def failed(self) -> bool:
        """Whether anything is an error."""
        return any(section.severity is Severity.ERROR for section in self.sections)

    def count(self, severity: Severity) -> int:
        """Return how many findings are of a severity."""
        return sum(f.severity is severity for s in self.sections for f in s.findings)

    def gravest_first(self) -> list[Section]:
        """Return the themes, those with the gravest findings first, in order otherwise."""
        return sorted(self.sections, key=_place)

    def as_json(self) -> dict[str, Any]:
        """Return the shape that ``doctor --json`` promises; it only grows."""
        return {
            "schema": 1,
            "run": None if self.run is None else str(self.run),
            "errors": self.count(Severity.ERROR),
            "warnings": self.count(Severity.WARNING),
            "sections": [section.as_json() for section in self.gravest_first()],
        }


def _place(section: Section) -> int:
    return len(_ORDER) if section.severity is None else _ORDER[section.severity]


def by_gravity(findings: tuple[Finding, ...]) -> list[Finding]:
    """Return findings, the gravest first, and in their order otherwise."""
    return sorted(findings, key=lambda finding: _ORDER[finding.severity])
