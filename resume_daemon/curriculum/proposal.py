"""What would be done about one curriculum state file, as a value."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from resume_daemon.repair.steps import WriteFile


class Action(StrEnum):
    """What is done about a state file, the best first."""

    RESTORE = "restore"
    REBUILD = "rebuild"
    FRESH = "fresh"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Proposal:
    """What would be done about one state file.

    Attributes:
        file: Its path in the run.
        action: What.
        why: In a sentence.
        steps: What would be written, in this order; none: nothing is.
        notes: What a person should know of it: what came from where, what is lost.
        stays_wrong: Something is wrong with it, and nothing is done about it.
    """

    file: str
    action: Action
    why: str
    steps: tuple[WriteFile, ...] = ()
    notes: tuple[str, ...] = ()
    stays_wrong: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return the shape that ``--json`` promises."""
        return {
            "state": self.file,
            "action": self.action.value,
            "why": self.why,
            "notes": list(self.notes),
            "writes": [
                {"path": str(step.target), "sentence": step.sentence} for step in self.steps
            ],
        }
