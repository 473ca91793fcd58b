"""Move an unsound checkpoint aside, so that the trainer's own search finds a sound one.

transformers ``get_last_checkpoint`` looks at nothing but the names of directories.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from resume_daemon.findings import Verdict
from resume_daemon.repair.proposals import Proposal, Unrepaired
from resume_daemon.repair.steps import Move

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

    from resume_daemon.repair.facts import CheckpointFacts, RunFacts
    from resume_daemon.repair.proposals import Outcome

ACTION: Final = "quarantine"

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


def release(kept: Path, run: Path, name: str, listing: str) -> Proposal:
    """Return the move that brings a checkpoint back from quarantine.

    Args:
        kept: Where it is.
        run: The run.
        name: What it was called there.
        listing: Digest of its names, sizes, modification times and kinds.
    """
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
    left = "none is left" if fallback is None else f"{fallback.name} is the newest sound one"
    sentence = f"{what}, and is not repaired: move it into quarantine, so that {left}"
    target = facts.quarantine / checkpoint.name
    step = Move(checkpoint.path, target, checkpoint.listing, sentence)
    return Proposal(ACTION, checkpoint.name, f"{sentence}.", (step,))


def _degraded(checkpoint: CheckpointFacts, fallback: CheckpointFacts | None) -> str:
    why = next((finding.message for finding in checkpoint.troubles()), "something is lost")
    left = (
        "no checkpoint is better"
        if fallback is None
        else f"exec resumes from {fallback.name}, and a trainer that looks for the newest itself "
        f"takes this one; --quarantine {checkpoint.name} moves it aside"
    )
    return f"{checkpoint.name} is degraded and stays where it is ({why}): {left}."
