"""Write ``resume.env``, the environment of the next start, for the checkpoint that is resumed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from blake3 import blake3

from resume_daemon.repair.proposals import Proposal
from resume_daemon.repair.steps import WriteFile
from resume_daemon.resume.environment import systemd_lines

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from resume_daemon.repair.proposals import Outcome
    from resume_daemon.resume.environment import Environment

ACTION: Final = "resume_env"


def propose(
    checkpoint: str,
    target: Path,
    present: bytes | None,
    environment: Environment,
    doubts: tuple[str, ...] = (),
) -> Iterator[Outcome]:
    """Yield the file where it says anything else, or is not there.

    Args:
        checkpoint: What the run resumes from.
        target: Where it is, in the sidecar.
        present: What it says now; None where it is not there.
        environment: What it has to say.
        doubts: What is not certain of it.
    """
    content = "".join(f"{line}\n" for line in systemd_lines(environment)).encode()
    if content == present:
        return
    sentence = f"write {target.name}, with which the next start resumes from {checkpoint}"
    before = None if present is None else blake3(present).hexdigest()
    step = WriteFile(target, before, content, sentence)
    yield Proposal(ACTION, checkpoint, f"{sentence}.", (step,), doubts=doubts)
