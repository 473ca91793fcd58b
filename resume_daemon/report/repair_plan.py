"""A repair as people read it, and as ``--json`` gives it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from resume_daemon.repair.proposals import Proposal
from resume_daemon.repair.steps import WriteFile

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from resume_daemon.repair.proposals import Outcome
    from resume_daemon.repair.proposing import Proposed
    from resume_daemon.verification import Verification


def plan_lines(proposed: Proposed, *, done: bool) -> Iterator[str]:
    """Yield what would be, or was, done, and what cannot be.

    Args:
        proposed: All that is proposed.
        done: Whether it was carried out.
    """
    doing = [each for each in proposed.outcomes if isinstance(each, Proposal)]
    if not proposed.outcomes:
        yield "nothing to repair"
    if doing:
        yield "done:" if done else "would be done, in this order:"
    for number, each in enumerate(doing, 1):
        yield f"  {number}. {each.sentence}"
        yield from (f"     not certain: {doubt}" for doubt in each.doubts)
    left = [each for each in proposed.outcomes if not isinstance(each, Proposal)]
    if left:
        yield "not repaired:"
    yield from (f"  - {each.sentence}" for each in left)
    if proposed.unseen:
        yield f"not looked at: {', '.join(proposed.unseen)}"
    chosen = proposed.resume.chosen
    if chosen is not None and proposed.outcomes:
        yield f"then the run resumes from {chosen.name}"
    elif chosen is None and not proposed.resume.refused:
        yield "there is no checkpoint yet"
    elif chosen is None:
        yield "no checkpoint of the run may be resumed from"


def verdict_line(found: Verification) -> str:
    """Return what a checkpoint is worth after its repair, in a sentence."""
    troubles = [f.message for f in found.findings if f.severity.value != "info"]
    why = f": {troubles[0]}" if troubles else ""
    return f"{found.path.name} was verified again and is {found.verdict.value}{why}"


def as_json(
    proposed: Proposed,
    *,
    repair: str | None,
    recovered: Sequence[str],
    after: Sequence[Verification],
) -> dict[str, Any]:
    """Return the shape that ``repair --json`` promises; it only grows."""
    chosen = proposed.resume.chosen
    return {
        "schema": 1,
        "repair": repair,
        "recovered": list(recovered),
        "outcomes": [_outcome(each) for each in proposed.outcomes],
        "expected_sound": sorted(proposed.mended),
        "resume_from": None if chosen is None else chosen.name,
        "not_looked_at": list(proposed.unseen),
        "verified": [each.as_json() for each in after],
        "undone": None,
    }


def _outcome(outcome: Outcome) -> dict[str, Any]:
    proposal = outcome if isinstance(outcome, Proposal) else None
    return {
        "action": outcome.action,
        "checkpoint": outcome.checkpoint,
        "file": outcome.file,
        "repaired": proposal is not None,
        "sentence": outcome.sentence,
        "exact": None if proposal is None else proposal.exact,
        "doubts": [] if proposal is None else list(proposal.doubts),
        "steps": []
        if proposal is None
        else [
            {"write": str(step.target), "move": None, "before": step.before}
            if isinstance(step, WriteFile)
            else {"write": str(step.target), "move": str(step.source), "before": step.before}
            for step in proposal.steps
        ],
    }
