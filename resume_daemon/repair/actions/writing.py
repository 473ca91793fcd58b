"""The proposal that writes a file which was made anew."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resume_daemon.repair.proposals import Proposal
from resume_daemon.repair.steps import WriteFile

if TYPE_CHECKING:
    from resume_daemon.repair.facts import CheckpointFacts
    from resume_daemon.repair.rebuilding.outcome import Rebuilt


def rewrite(action: str, checkpoint: CheckpointFacts, file: str, made: Rebuilt) -> Proposal:
    """Return the proposal that puts a rebuilt file in its place."""
    how = "cannot be relied on" if file in checkpoint.files else "is missing"
    sentence = f"{file} of {checkpoint.name} {how}: rebuild it from {made.source}"
    before = checkpoint.digests.get(file)
    step = WriteFile(checkpoint.target(file), before, made.content, sentence)
    return Proposal(
        action,
        checkpoint.name,
        f"{sentence}.",
        (step,),
        file=file,
        exact=not made.doubts,
        doubts=made.doubts,
    )
