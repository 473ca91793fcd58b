"""Carrying out what is proposed, in the plainest way, to see what a run is worth afterwards."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

from blake3 import blake3

from resume_daemon.ledger.ledger import Ledger
from resume_daemon.repair.engine import Engine
from resume_daemon.repair.proposals import Proposal
from resume_daemon.repair.proposing import NextStart, propose
from resume_daemon.repair.steps import Move
from resume_daemon.repair.store import RepairStore
from resume_daemon.state_directory import find_state_directory

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime
    from pathlib import Path

    from resume_daemon.repair.proposals import Outcome
    from resume_daemon.repair.proposing import Proposed


OF_THE_RUN = frozenset({"resume_env", "curriculum_version", "parameters"})


def proposed(run: Path, *asked: str) -> Proposed:
    """Return what is proposed for a run, an hour after its last save."""
    now = time.time_ns() + 3600 * 10**9
    state = find_state_directory(run, None)
    return propose(run, state, now_ns=now, asked=asked, start=NextStart({}))


def kill_while_applying(run: Path, proposals: Sequence[Proposal], now: datetime) -> None:
    """Carry a repair out in a process of its own, which is killed after its first replacement."""
    sidecar = run / ".resume_daemon"

    def kill(what: str) -> None:
        if what == "replaced":
            os.kill(os.getpid(), signal.SIGKILL)

    child = os.fork()
    if child == 0:
        with Ledger.open(sidecar / "ledger.jsonl", "run") as ledger:
            Engine(RepairStore(sidecar / "repairs"), ledger, sidecar, kill).apply(proposals, now)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), "it ended before it was killed"


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
