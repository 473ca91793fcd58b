"""What is done about the checkpoints of a run: the actions in their order. Pure.

Files of checkpoints come first, since what a checkpoint holds decides from which one the run
resumes; then what cannot be made whole is moved aside. Parameters, the curriculum and the
environment, in the guide's order, are those of the checkpoint that is then the newest sound one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from resume_daemon.repair.actions import (
    quarantine,
    scheduler,
    shard_index,
    small_file,
    trainer_state,
)
from resume_daemon.repair.proposals import Proposal, Unrepaired
from resume_daemon.repair.rebuilding.scheduler import FILE as SCHEDULER
from resume_daemon.repair.rebuilding.shard_index import INDEXES
from resume_daemon.repair.rebuilding.trainer_state import FILE as TRAINER_STATE

if TYPE_CHECKING:
    from collections.abc import Collection

    from resume_daemon.repair.facts import CheckpointFacts, RunFacts
    from resume_daemon.repair.proposals import Outcome

_REBUILDABLE: Final = frozenset({*INDEXES, SCHEDULER, TRAINER_STATE})
_FILES_FIRST: Final = (shard_index, trainer_state, scheduler)
_REBUILDING: Final = frozenset(each.ACTION for each in _FILES_FIRST)

_STEPS: Final = frozenset({"RD401", "RD402", "RD403", "RD404"})
"""Findings that the steps of two files disagree, of which one is put right."""


@dataclass(frozen=True, slots=True)
class Mending:
    """What is proposed about the checkpoints.

    Attributes:
        outcomes: In the order in which they are to be carried out.
        mended: Checkpoints that are expected to be sound afterwards.
    """

    outcomes: tuple[Outcome, ...]
    mended: frozenset[str]


def mend(facts: RunFacts, asked: Collection[str] = ()) -> Mending:
    """Return what is done about the checkpoints of a run.

    Args:
        facts: The run.
        asked: Checkpoints that the user wants moved aside.
    """
    outcomes: list[Outcome] = []
    mended: set[str] = set()
    for checkpoint in facts.checkpoints:
        if checkpoint.sound or checkpoint.name in asked:
            continue
        found = _files(checkpoint, facts)
        if _is_mended(checkpoint, found):
            mended.add(checkpoint.name)
        else:
            found = [_withheld(each) for each in found]
        outcomes += found
    outcomes += quarantine.propose(facts, mended, asked)
    moved = {o.checkpoint for o in outcomes if isinstance(o, Proposal) and o.action == "quarantine"}
    # What is moved aside stays as it was found, so that it can be looked at.
    kept = [o for o in outcomes if o.checkpoint not in moved or _stays(o)]
    return Mending(tuple(kept), frozenset(mended))


def _withheld(outcome: Outcome) -> Outcome:
    """Leave a file unmade where the checkpoint would not be whole with it either.

    A save that was cut off lacks its trainer state, by which it is told to be one; with a rebuilt
    one it would look like a checkpoint.
    """
    if isinstance(outcome, Unrepaired) or outcome.action not in _REBUILDING:
        return outcome
    what = outcome.file if outcome.file is not None else "a part"
    sentence = (
        f"{what} of {outcome.checkpoint} is not rebuilt, since other parts of it cannot be put "
        "right: it would only look whole."
    )
    return Unrepaired(outcome.action, outcome.checkpoint, sentence, outcome.file)


def _stays(outcome: Outcome) -> bool:
    return isinstance(outcome, Unrepaired) or outcome.action == quarantine.ACTION


def _files(checkpoint: CheckpointFacts, facts: RunFacts) -> list[Outcome]:
    found: list[Outcome] = list(small_file.propose(checkpoint))
    if set(checkpoint.strayed) - _REBUILDABLE:
        return found
    settled = {each.file for each in found if isinstance(each, Proposal)}
    neighbours = facts.neighbours(checkpoint)
    made = [
        outcome
        for action in _FILES_FIRST
        for outcome in action.propose(checkpoint, neighbours)
        if outcome.file not in settled
    ]
    files = {each.file for each in made}
    # What is rebuilt, or is told why not, need not be told a second time.
    covered = bool(checkpoint.strayed) and set(checkpoint.strayed) <= files
    return [
        *(o for o in found if isinstance(o, Proposal) or not (covered or o.file in files)),
        *made,
    ]


def _is_mended(checkpoint: CheckpointFacts, found: list[Outcome]) -> bool:
    """Return whether nothing should be left of what keeps a checkpoint from being sound."""
    files = {each.file for each in found if isinstance(each, Proposal)}
    if not files or any(isinstance(each, Unrepaired) for each in found):
        return False
    whole = checkpoint.recorded and not set(checkpoint.strayed) - files and not checkpoint.lost
    if whole:
        return True
    steps = {f.code for f in checkpoint.troubles() if f.code in _STEPS} if files else set()
    return all(
        trouble.file in files or (trouble.code in steps and _settles(files))
        for trouble in checkpoint.troubles()
    )


def _settles(files: set[str | None]) -> bool:
    return bool(files & {TRAINER_STATE, SCHEDULER})
