"""Put a small file of a checkpoint back as it was when the checkpoint was sound, byte for byte."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from resume_daemon.repair.proposals import Proposal, Unrepaired
from resume_daemon.repair.steps import WriteFile

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resume_daemon.repair.facts import CheckpointFacts
    from resume_daemon.repair.proposals import Outcome

ACTION: Final = "small_file"


def propose(checkpoint: CheckpointFacts) -> Iterator[Outcome]:
    """Yield one proposal for each file that is not what it was, or why none can be.

    What is there must be of that same save: where another file is not what it was either, and is
    not kept, two saves may lie mixed in the directory.
    """
    changed = [
        name
        for name, digest in sorted(checkpoint.recorded.items())
        if checkpoint.digests.get(name) != digest and digest in checkpoint.kept
    ]
    if checkpoint.strayed:
        if changed or not checkpoint.sound:
            yield Unrepaired(ACTION, checkpoint.name, _mixed(checkpoint, changed))
        return
    for name in changed:
        digest = checkpoint.recorded[name]
        how = "is not what it was" if name in checkpoint.files else "is missing"
        sentence = (
            f"{name} of {checkpoint.name} {how}: put back the content that it had when the "
            f"checkpoint was sound (BLAKE3 {digest[:12]})"
        )
        before = checkpoint.digests.get(name)
        step = WriteFile(checkpoint.target(name), before, checkpoint.kept[digest], sentence)
        yield Proposal(ACTION, checkpoint.name, f"{sentence}.", (step,), file=name)
    for name in checkpoint.lost:
        yield Unrepaired(
            ACTION,
            checkpoint.name,
            f"{name} of {checkpoint.name} is missing, and no copy of it is kept.",
            file=name,
        )


def _mixed(checkpoint: CheckpointFacts, changed: list[str]) -> str:
    strayed = ", ".join(checkpoint.strayed[:3])
    nothing = f"; so {', '.join(changed[:3])} is not put back either" if changed else ""
    return (
        f"{strayed} of {checkpoint.name} is not what it was when the checkpoint was sound, and no "
        f"copy of it is kept{nothing}."
    )
