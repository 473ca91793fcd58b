"""Rebuild ``trainer_state.json`` of a checkpoint from that of a later one, or correct its step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from resume_daemon.repair.actions.writing import rewrite
from resume_daemon.repair.proposals import Unrepaired
from resume_daemon.repair.rebuilding.outcome import Rebuilt
from resume_daemon.repair.rebuilding.trainer_state import FILE, Source, correct, rebuild

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from resume_daemon.repair.facts import CheckpointFacts
    from resume_daemon.repair.proposals import Outcome

ACTION: Final = "trainer_state"

LAYOUTS: Final = frozenset({"huggingface"})
"""Layouts in which the file is the whole trainer's state."""


def propose(
    checkpoint: CheckpointFacts, neighbours: Sequence[CheckpointFacts]
) -> Iterator[Outcome]:
    """Yield the state where the one that is there is missing or wrong, or why it is not known."""
    step = checkpoint.step
    if step is None or checkpoint.layout not in LAYOUTS or _is_right(checkpoint, step):
        return
    counted = checkpoint.optimizer.steps if checkpoint.optimizer is not None else ()
    corrected = correct(step, Source(checkpoint.name, checkpoint.trainer_state), counted)
    if isinstance(corrected, Rebuilt):
        yield rewrite(ACTION, checkpoint, FILE, corrected)
        return
    known = [
        (each.step, Source(each.name, each.trainer_state))
        for each in neighbours
        if each.step is not None and _is_right(each, each.step)
    ]
    # The nearest that is earlier tells most; the nearest that is later has the fewest rows to cut.
    earlier = next((source for at, source in known if at < step), None)
    rate = _rate(checkpoint)
    reason = "no later checkpoint has one that can be relied on"
    for at, later in known:
        if at <= step:
            continue
        made = rebuild(step, later, earlier, rate)
        if isinstance(made, Rebuilt):
            yield rewrite(ACTION, checkpoint, FILE, made)
            return
        reason = made.reason
    how = "is wrong or damaged" if FILE in checkpoint.files else "is missing"
    sentence = f"{FILE} of {checkpoint.name} {how}, and is not rebuilt: {reason}."
    yield Unrepaired(ACTION, checkpoint.name, sentence, file=FILE)


def _is_right(checkpoint: CheckpointFacts, step: int) -> bool:
    state = checkpoint.trainer_state
    return isinstance(state, dict) and state.get("global_step") == step


def _rate(checkpoint: CheckpointFacts) -> float | None:
    """Return the learning rate of the first group, which is what the trainer logs."""
    groups = checkpoint.optimizer.groups if checkpoint.optimizer is not None else ()
    rate = groups[0].get("lr") if groups else None
    return rate if isinstance(rate, float) else None
