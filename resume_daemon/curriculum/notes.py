"""A finding about the curriculum, and whether it is something to alert on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from resume_daemon.conditions import Condition

if TYPE_CHECKING:
    from resume_daemon.findings import Code, Finding


@dataclass(frozen=True, slots=True)
class Noted:
    """One finding, and the condition that it is while it holds (None: nothing to alert on)."""

    finding: Finding
    condition: Condition | None = None


def noted_state(code: Code, message: str, file: str) -> Noted:
    """Return a finding about a state file, and the condition of the same name."""
    condition = Condition(f"{code.name}:{file}", code.id, code.severity, message)
    return Noted(code.finding(message, file=file), condition)
