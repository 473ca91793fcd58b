"""Put right the parameters that the next start is given, where no choice is left to a person."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from resume_daemon.repair.proposals import Proposal, Unrepaired

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resume_daemon.parameters.mending import MendingPlan
    from resume_daemon.repair.proposals import Outcome

ACTION: Final = "parameters"


def propose(plan: MendingPlan) -> Iterator[Outcome]:
    """Yield the edits of a plan, which hold together, and what is left to a person."""
    if plan.steps:
        what = "; ".join(each.sentence for each in plan.done)
        files = ", ".join(str(step.target) for step in plan.steps)
        yield Proposal(ACTION, None, f"Parameters: {what}, in {files}.", plan.steps)
    for each in plan.left:
        yield Unrepaired(ACTION, None, f"Parameters: to {each.sentence}: {each.reason}.")
