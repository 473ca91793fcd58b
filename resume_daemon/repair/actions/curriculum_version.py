"""Put the curriculum state back that belongs to the checkpoint which the run resumes from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from resume_daemon.repair.proposals import Proposal
from resume_daemon.repair.steps import WriteFile

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from resume_daemon.curriculum.restore import RestorePlan
    from resume_daemon.repair.proposals import Outcome

ACTION: Final = "curriculum_version"


def propose(
    checkpoint: str, plan: RestorePlan, contents: Mapping[str, bytes], doubts: tuple[str, ...] = ()
) -> Iterator[Outcome]:
    """Yield one proposal for each state file that is another one now.

    Args:
        checkpoint: What the run resumes from.
        plan: What has to be written so that the run has its state.
        contents: What is written, by the file's path in the run.
        doubts: What is not certain of the choice.
    """
    for step in plan.steps:
        sentence = f"{step.file} is not that of {checkpoint}: restore {step.sentence}"
        write = WriteFile(step.target, step.before, contents[step.file], sentence)
        yield Proposal(
            ACTION,
            checkpoint,
            f"{sentence}.",
            (write,),
            file=step.file,
            exact=not doubts,
            doubts=doubts,
        )
