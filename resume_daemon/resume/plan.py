"""The resume plan: which checkpoint to start from, and what stands in its way. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from resume_daemon.ledger.record import rfc3339

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime
    from pathlib import Path

    from resume_daemon.findings import Verdict
    from resume_daemon.ledger.queries import BackupState
    from resume_daemon.resume.tracker import TrackerChoice, TrackerPoint


@dataclass(frozen=True, slots=True)
class Candidate:
    """A checkpoint that the run could be resumed from, as it was judged.

    Attributes:
        name: Directory name.
        path: Where it is.
        step: The trainer's step, or None where nothing tells it.
        verdict: What it is worth; None where it could not be judged.
        why: What is wrong with it, gravest first; of a degraded one, what is lost.
        judged_at: When, where nothing was touched since and it was not read again; None for now.
    """

    name: str
    path: Path
    step: int | None
    verdict: Verdict | None
    why: tuple[str, ...] = ()
    judged_at: datetime | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the shape that ``plan --json`` promises."""
        return {
            "checkpoint": self.name,
            "path": str(self.path),
            "step": self.step,
            "verdict": None if self.verdict is None else self.verdict.value,
            "why": list(self.why),
            "judged_at": None if self.judged_at is None else rfc3339(self.judged_at),
        }


@dataclass(frozen=True, slots=True)
class CurriculumPoint:
    """The version of one state file that belongs to the checkpoint.

    Attributes:
        file: Path of the state file in the run.
        stage: Its stage, or None.
        step: Its step, or None.
        sentence: Which version it is, and how far off.
        in_place: Whether the run has this version now; if not, the trainer would begin with
            another one.
    """

    file: str
    stage: str | None
    step: int | None
    sentence: str
    in_place: bool

    def as_json(self) -> dict[str, Any]:
        """Return the shape that ``plan --json`` promises."""
        return {
            "file": self.file,
            "stage": self.stage,
            "step": self.step,
            "sentence": self.sentence,
            "in_place": self.in_place,
        }


@dataclass(frozen=True, slots=True)
class ResumePlan:
    """What to start now, and why.

    Attributes:
        run: The run directory.
        chosen: What to resume from, or None where nothing may be.
        refused: Newer ones that may not be, newest first.
        untold: Older ones that were not looked at, newest first.
        reached: The highest trainer step that is known to have been trained, or None.
        tracker: Where the tracker's history stood at the checkpoint, or None where nothing tells.
        choices: What can be done about the tracker's history, the recommended one first.
        curriculum: The state files that belong to the checkpoint.
        parameters: What the run was trained with, as far as the checkpoint says.
        backups: Of steps beyond the chosen one, the highest step first, one of each checkpoint.
        gone: Where no checkpoint is there: those that a daemon found sound, the newest first.
        doubts: What is not certain, in a sentence each.
    """

    run: Path
    chosen: Candidate | None
    refused: tuple[Candidate, ...] = ()
    untold: tuple[str, ...] = ()
    reached: int | None = None
    tracker: TrackerPoint | None = None
    choices: tuple[TrackerChoice, ...] = ()
    curriculum: tuple[CurriculumPoint, ...] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)
    backups: tuple[BackupState, ...] = ()
    gone: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()

    @property
    def steps_lost(self) -> int | None:
        """Steps that were trained and will be trained again; None where that is not known."""
        if self.chosen is None or self.chosen.step is None or self.reached is None:
            return None
        return max(0, self.reached - self.chosen.step)

    @property
    def gone_told(self) -> str:
        """What became of the checkpoints of a run that had some and has none."""
        which = "the only" if len(self.gone) == 1 else f"the newest of {len(self.gone)}"
        return (
            f"there is no checkpoint any more; {which} that a daemon found sound was {self.gone[0]}"
        )

    def as_json(self) -> dict[str, Any]:
        """Return the shape that ``plan --json`` promises; it only grows."""
        return {
            "schema": 1,
            "run": str(self.run),
            "resume_from": None if self.chosen is None else self.chosen.as_json(),
            "refused": [each.as_json() for each in self.refused],
            "not_looked_at": list(self.untold),
            "reached_step": self.reached,
            "steps_lost": self.steps_lost,
            "tracker": None if self.tracker is None else self.tracker.as_json(),
            "tracker_choices": [each.as_json() for each in self.choices],
            "curriculum": [each.as_json() for each in self.curriculum],
            "parameters": dict(self.parameters),
            "backups": [each.as_json() for each in self.backups],
            "gone": list(self.gone),
            "doubts": list(self.doubts),
        }


@dataclass(frozen=True, slots=True)
class Chosen:
    """The outcome of a look at the candidates from the newest on."""

    candidate: Candidate | None
    refused: tuple[Candidate, ...]


def choose(candidates: Iterable[Candidate], *, accept: frozenset[Verdict]) -> Chosen:
    """Return the first candidate that is accepted, and those before it.

    Args:
        candidates: Newest first; no more of them are asked for than are needed, since each may
            have to be read.
        accept: Verdicts that will do.
    """
    refused: list[Candidate] = []
    for candidate in candidates:
        if candidate.verdict in accept:
            return Chosen(candidate, tuple(refused))
        refused.append(candidate)
    return Chosen(None, tuple(refused))


def newest_first(steps: Mapping[str, int | None]) -> tuple[str, ...]:
    """Return names of checkpoints by step, the highest first; those without one come last."""
    order = sorted(steps, key=lambda name: (steps[name] is None, -(steps[name] or 0), name))
    return tuple(order)


def backups_beyond(
    chosen: Candidate | None, backups: Iterable[BackupState]
) -> tuple[BackupState, ...]:
    """Return the newest backup of each checkpoint beyond the chosen one, the highest step first.

    Args:
        chosen: What is resumed from; None where nothing is, and every backup is beyond it.
        backups: The newest first.
    """
    newest: dict[str, BackupState] = {}
    for each in backups:
        if chosen is None or _is_beyond(each.step, chosen.step):
            newest.setdefault(each.checkpoint, each)
    order = newest_first({name: each.step for name, each in newest.items()})
    return tuple(newest[name] for name in order)


def _is_beyond(step: int | None, other: int | None) -> bool:
    return step is not None and other is not None and step > other
