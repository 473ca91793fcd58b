"""Carrying out what is proposed, in the plainest way, to see what a run is worth afterwards."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from blake3 import blake3

from resume_daemon.repair.proposals import Proposal
from resume_daemon.repair.proposing import NextStart, propose
from resume_daemon.repair.steps import Move
from resume_daemon.state_directory import find_state_directory

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from resume_daemon.repair.proposals import Outcome
    from resume_daemon.repair.proposing import Proposed


OF_THE_RUN = frozenset({"resume_env", "curriculum_version", "parameters"})


def proposed(run: Path, *asked: str) -> Proposed:
    """Return what is proposed for a run, an hour after its last save."""
    now = time.time_ns() + 3600 * 10**9
    state = find_state_directory(run, None)
    return propose(run, state, now_ns=now, asked=asked, start=NextStart({}))


def carry_out(outcomes: Iterable[Outcome]) -> None:
    """Do what is proposed; what is expected to be there has to be there."""
    for outcome in outcomes:
        if not isinstance(outcome, Proposal):
            continue
        for step in outcome.steps:
            if isinstance(step, Move):
                step.target.parent.mkdir(parents=True, exist_ok=True)
                step.source.rename(step.target)
                continue
            there = step.target.read_bytes() if step.target.exists() else None
            assert step.before == (None if there is None else blake3(there).hexdigest())
            step.target.write_bytes(step.content)


def told(outcomes: Iterable[Outcome], checkpoint: str) -> list[str]:
    """Return what is said of a checkpoint's own files: the action, and ``not`` before a refusal."""
    return [
        ("" if isinstance(each, Proposal) else "not ") + each.action
        for each in outcomes
        if each.checkpoint == checkpoint and each.action not in OF_THE_RUN
    ]
