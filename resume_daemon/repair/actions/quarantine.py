"""Move an unsound checkpoint aside, so that the trainer's own search finds a sound one.

transformers ``get_last_checkpoint`` looks at nothing but the names of directories.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from resume_daemon.findings import Verdict
from resume_daemon.layouts.registry import is_checkpoint_name
from resume_daemon.repair.proposals import Proposal, Unrepaired
from resume_daemon.repair.steps import Move, WriteFile

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

    from resume_daemon.repair.facts import CheckpointFacts, RunFacts
    from resume_daemon.repair.proposals import Outcome

ACTION: Final = "quarantine"

_NUMBERED: Final = re.compile(r"(?P<name>.+)\.[0-9]+")
_MOVED: Final = frozenset({Verdict.UNSOUND, Verdict.INCOMPLETE})


def propose(
    facts: RunFacts, mended: Collection[str], asked: Collection[str] = ()
) -> Iterator[Outcome]:
    """Yield a move for each checkpoint that a trainer would take and must not.

    Args:
        facts: The run.
        mended: Checkpoints that the other proposals make sound.
        asked: Checkpoints that the user wants moved, whatever they are worth.
    """
    fallback = next((c for c in facts.checkpoints if c.sound or c.name in mended), None)
    older = False
    for checkpoint in facts.checkpoints:
        older = older or checkpoint is fallback
        if checkpoint.name in asked:
            yield _moved(checkpoint, facts, fallback)
        elif older:
            continue
        elif checkpoint.verdict in _MOVED:
            yield _moved(checkpoint, facts, fallback)
        elif checkpoint.verdict is Verdict.DEGRADED:
            yield Unrepaired(ACTION, checkpoint.name, _degraded(checkpoint, fallback))


def _free_name(name: str, taken: Collection[str]) -> str:
    """Return what a checkpoint is called in quarantine: one of the same step may be there."""
    names = (name, *(f"{name}.{number}" for number in range(2, len(taken) + 3)))
    return next(each for each in names if each not in taken)


def name_in_run(kept: str) -> str:
    """Return what a checkpoint was called in the run, by its name in quarantine."""
    match = _NUMBERED.fullmatch(kept)
    return match["name"] if match and is_checkpoint_name(match["name"]) else kept


def release(kept: Path, run: Path, listing: str) -> Proposal:
    """Return the move that brings a checkpoint back from quarantine.

    Args:
        kept: Where it is.
        run: The run.
        listing: Digest of its names, sizes, modification times and kinds.
    """
    name = name_in_run(kept.name)
    sentence = f"bring {name} back into the run"
    step = Move(kept, run / name, listing, sentence)
    return Proposal(ACTION, name, f"{sentence}.", (step,))


def _moved(
    checkpoint: CheckpointFacts, facts: RunFacts, fallback: CheckpointFacts | None
) -> Outcome:
    verdict = checkpoint.verdict.value if checkpoint.verdict is not None else "not judged"
    what = f"{checkpoint.name} is {verdict}"
    if checkpoint.obstacle is not None:
        sentence = f"{what}, and cannot be moved aside: {checkpoint.obstacle}."
        return Unrepaired(ACTION, checkpoint.name, sentence)
    steps = _renamed(checkpoint, facts, fallback)
    if steps is None:
        sentence = f"{what}, and is not moved aside: it is the one that a tracker file names, and "
        return Unrepaired(
            ACTION, checkpoint.name, f"{sentence}there is no sound one that it could name instead."
        )
    left = "none is left" if fallback is None else f"{fallback.name} is the newest sound one"
    sentence = f"{what}, and is not repaired: move it into quarantine, so that {left}"
    target = facts.quarantine / _free_name(checkpoint.name, facts.quarantined)
    step = Move(checkpoint.path, target, checkpoint.listing, sentence)
    also = "".join(f"; {each.sentence}" for each in steps)
    return Proposal(ACTION, checkpoint.name, f"{sentence}{also}.", (*steps, step))


def _renamed(
    checkpoint: CheckpointFacts, facts: RunFacts, fallback: CheckpointFacts | None
) -> tuple[WriteFile, ...] | None:
    """Return what makes tracker files name another checkpoint; None where there is none."""
    steps = []
    for tracker in facts.trackers:
        if tracker.number != checkpoint.number:
            continue
        digits = re.search(r"[0-9]+", tracker.text)
        if fallback is None or fallback.number is None or digits is None:
            return None
        number = str(fallback.number)
        # Some pad the number with zeros.
        if digits[0].startswith("0"):
            number = number.zfill(len(digits[0]))
        content = re.sub(r"[0-9]+", number, tracker.text, count=1).encode()
        sentence = f"{tracker.path.name} names {fallback.name} instead"
        steps.append(WriteFile(tracker.path, tracker.digest, content, sentence))
    return tuple(steps)


def _degraded(checkpoint: CheckpointFacts, fallback: CheckpointFacts | None) -> str:
    why = next((finding.message for finding in checkpoint.troubles()), "something is lost")
    left = (
        "no checkpoint is better"
        if fallback is None
        else f"exec resumes from {fallback.name}, and a trainer that looks for the newest itself "
        f"takes this one; --quarantine {checkpoint.name} moves it aside"
    )
    return f"{checkpoint.name} is degraded and stays where it is ({why}): {left}."
