"""Which step pairs are worth a ledger record. Pure.

A log has a trusted row for every step that the trainer logs; the ledger keeps the pair that belongs
to each checkpoint, and the ones at which the relation of the two steps changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from resume_daemon.seams import StepMode

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from resume_daemon.steps import StepPair


@dataclass(frozen=True, slots=True)
class KeptPair:
    """A pair for the ledger.

    Attributes:
        pair: The trusted row.
        checkpoint_step: Step of the checkpoint that it belongs to (its own, or a later one that
            was not logged itself), or None where only the relation of the steps changed.
    """

    pair: StepPair
    checkpoint_step: int | None = None


def compact(
    pairs: Sequence[StepPair],
    *,
    previous: StepPair | None = None,
    checkpoint_steps: Collection[int] = (),
    mode: StepMode = StepMode.UNKNOWN,
) -> tuple[KeptPair, ...]:
    """Return the pairs to record, in the order of their rows.

    A checkpoint whose step was not logged itself gets the latest row below it, once a later row of
    the same segment shows that none will come in between: W&B writes rows late. So a checkpoint
    that gets no pair now is asked for again with the next pairs.

    Args:
        pairs: New trusted rows, in the order of their segments and rows.
        previous: The trusted row just before them, recorded or not.
        checkpoint_steps: Trainer steps of the checkpoints that have no pair yet.
        mode: Who decides the tracker's step. Where W&B does, its difference to the trainer's moves
            with every extra row and is not worth a record; where the trainer does, a change is.
    """
    kept: list[KeptPair] = []
    waiting = sorted(set(checkpoint_steps))
    for pair in pairs:
        same = previous is not None and previous.segment == pair.segment
        if previous is not None and same:
            # A step that goes back within one process is a second training, not a passing of steps.
            passed = [s for s in waiting if previous.trainer_step <= s < pair.trainer_step]
            kept += [KeptPair(previous, step) for step in passed]
            waiting = [s for s in waiting if s not in passed]
        reached = [step for step in waiting if step == pair.trainer_step]
        kept += [KeptPair(pair, step) for step in reached]
        waiting = [step for step in waiting if step not in reached]
        changed = not same or (
            mode is StepMode.EXPLICIT
            and previous is not None
            and _offset(pair) != _offset(previous)
        )
        if changed and not reached:
            kept.append(KeptPair(pair))
        previous = pair
    return tuple(kept)


def _offset(pair: StepPair) -> int:
    return pair.tracker_step - pair.trainer_step
