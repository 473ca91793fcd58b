"""Which checkpoints are to be backed up and which backups may go, decided from values."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence


@dataclass(frozen=True, slots=True)
class Rules:
    """How many of each kind are kept; 0 keeps none of a kind.

    Attributes:
        newest: How many of those that were saved last.
        every: Every how many sound checkpoints one counts as a mark of the run.
        keep_every: How many of these are kept, the last first.
        best: How many of the best by the metric.
        greater_is_better: Whether a greater metric is better.
    """

    newest: int = 1
    every: int = 0
    keep_every: int = 0
    best: int = 0
    greater_is_better: bool = True


@dataclass(frozen=True, slots=True)
class Candidate:
    """A sound checkpoint that is in the run.

    Attributes:
        checkpoint: Its name.
        content: Digest of what it consists of; equal is the same checkpoint.
        saved_ns: When the trainer saved it.
        number: Which of the run's sound checkpoints it is, from 1; None where nobody counted.
        metric: How good it is; None where that is not known.
    """

    checkpoint: str
    content: str
    saved_ns: int
    number: int | None
    metric: float | None


@dataclass(frozen=True, slots=True)
class Held:
    """A whole, verified backup; as ``Candidate``, and whether the policy may drop it."""

    id: str
    checkpoint: str
    content: str
    saved_ns: int
    number: int | None
    metric: float | None
    policy: bool


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do next.

    Attributes:
        copy: Checkpoints to back up, what matters most first.
        drop: Ids of backups that may go; none while anything is to be copied.
    """

    copy: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()


def decide(rules: Rules, there: Sequence[Candidate], held: Sequence[Held]) -> Decision:
    """Return what to back up, and what may be dropped.

    Nothing is dropped while anything is to be copied: only when all that should be kept is whole
    and verified may what it replaces go. Of a checkpoint that was trained again under the same name
    the one that was saved last counts.

    Args:
        rules: How many of each kind are kept.
        there: The sound checkpoints in the run.
        held: The backups at the destination.
    """
    latest: dict[str, Candidate | Held] = {}
    every: list[Candidate | Held] = [*there, *held]
    for each in sorted(every, key=lambda each: each.saved_ns):
        latest[each.checkpoint] = each
    for candidate in there:
        # What is in the run is what its name means now, whatever the times of its files say.
        latest[candidate.checkpoint] = candidate
    wanted = _wanted(rules, latest.values())
    contents = {latest[name].content for name in wanted}
    have = {each.content for each in held}
    copy = tuple(
        each.checkpoint
        for each in sorted(there, key=_age, reverse=True)
        if each.checkpoint in wanted and each.content not in have
    )
    if copy:
        return Decision(copy=copy)
    return Decision(
        drop=tuple(sorted(e.id for e in held if e.policy and e.content not in contents))
    )


def numbers_of(sound: Mapping[str, int | None]) -> dict[str, int]:
    """Return which of a run's sound checkpoints each is, from 1, by step.

    Args:
        sound: The step of every checkpoint that ever was sound, also of those that are gone.
    """
    ordered = sorted(sound, key=lambda name: (sound[name] or 0, name))
    return {name: number for number, name in enumerate(ordered, 1)}


def _wanted(rules: Rules, every: Iterable[Candidate | Held]) -> set[str]:
    """Return the names of the checkpoints that should be kept."""
    ordered = sorted(every, key=_age, reverse=True)
    marks = [e for e in ordered if rules.every and e.number and e.number % rules.every == 0]
    good = sorted(
        (e for e in ordered if e.metric is not None and math.isfinite(e.metric)),
        key=_goodness(rules),
        reverse=True,
    )
    kept = (*ordered[: rules.newest], *marks[: rules.keep_every], *good[: rules.best])
    return {each.checkpoint for each in kept}


def _age(each: Candidate | Held) -> tuple[int, str]:
    return each.saved_ns, each.checkpoint


def _goodness(rules: Rules) -> Callable[[Candidate | Held], tuple[float, int, str]]:
    sign = 1 if rules.greater_is_better else -1
    return lambda each: (sign * (each.metric or 0.0), *_age(each))
