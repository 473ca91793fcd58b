"""Rebuild ``scheduler.pt`` from the optimizer beside it, where that says all of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from resume_daemon.repair.actions.trainer_state import LAYOUTS
from resume_daemon.repair.actions.writing import rewrite
from resume_daemon.repair.proposals import Unrepaired
from resume_daemon.repair.rebuilding.outcome import Rebuilt
from resume_daemon.repair.rebuilding.scheduler import FILE, Neighbour, rebuild

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from resume_daemon.repair.facts import CheckpointFacts
    from resume_daemon.repair.proposals import Outcome

ACTION: Final = "scheduler"


def propose(
    checkpoint: CheckpointFacts, neighbours: Sequence[CheckpointFacts]
) -> Iterator[Outcome]:
    """Yield the scheduler where the one that is there is missing or of another step."""
    step = checkpoint.step
    if step is None or checkpoint.layout not in LAYOUTS or not neighbours:
        return
    if _counts(checkpoint.scheduler) == step:
        return
    others = [
        Neighbour(each.name, each.step, each.scheduler, each.optimizer)
        for each in neighbours
        if each.step is not None and each.scheduler is not None and each.optimizer is not None
    ]
    if not _is_wrong(checkpoint, others):
        return
    reason = "its optimizer.pt, which has the rates, cannot be read"
    if checkpoint.optimizer is not None:
        reason = "no other checkpoint has one that can be relied on"
        for other in others:
            made = rebuild(step, checkpoint.optimizer, other)
            if isinstance(made, Rebuilt):
                yield rewrite(ACTION, checkpoint, FILE, made)
                return
            reason = made.reason
    how = "is damaged or of another step" if FILE in checkpoint.files else "is missing"
    sentence = f"{FILE} of {checkpoint.name} {how}, and is not rebuilt: {reason}."
    yield Unrepaired(ACTION, checkpoint.name, sentence, file=FILE)


def _is_wrong(checkpoint: CheckpointFacts, others: Sequence[Neighbour]) -> bool:
    """Return whether the file has to be another: some trainers save none, or count otherwise."""
    if FILE not in checkpoint.files:
        # Where the optimizer was left out too, nothing but the model was to be saved.
        return bool(others) and (checkpoint.optimizer is not None or _named(checkpoint))
    if checkpoint.scheduler is None:
        return True
    return any(_counts(other.scheduler) == other.step for other in others)


def _named(checkpoint: CheckpointFacts) -> bool:
    return any(finding.file == FILE for finding in checkpoint.troubles())


def _counts(scheduler: Any) -> Any:
    return scheduler.get("last_epoch") if isinstance(scheduler, dict) else None
