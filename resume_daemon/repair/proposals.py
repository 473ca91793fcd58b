"""What may be done about a run, and what may not: the values that the actions give."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from resume_daemon.repair.steps import RepairStep


@dataclass(frozen=True, slots=True)
class Proposal:
    """One thing to put right.

    Attributes:
        action: Which action proposes it (``small_file``, ``quarantine``, ...).
        checkpoint: Whose it is, or None where it is the run's.
        sentence: What is wrong and what will be done, whole, for a person.
        steps: How; all of them or none.
        file: The file of the checkpoint that is put right, where it is one.
        exact: Whether every byte, or every value, is proved to be what it was.
        doubts: What is not certain, a sentence each.
    """

    action: str
    checkpoint: str | None
    sentence: str
    steps: tuple[RepairStep, ...]
    file: str | None = None
    exact: bool = True
    doubts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Unrepaired:
    """One thing that is wrong and stays so.

    Attributes:
        action: Which action would have been the one.
        checkpoint: Whose it is, or None where it is the run's.
        sentence: What is wrong, why it is not repaired, and what is left to do.
        file: The file of the checkpoint that it is about, where it is one.
    """

    action: str
    checkpoint: str | None
    sentence: str
    file: str | None = None


Outcome = Proposal | Unrepaired
