"""The keeper of checkpoints as in a daemon beside a run, with a clock of the test's."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from resume_daemon.daemon.checkpoint_keeper import CheckpointKeeper
from resume_daemon.daemon.messages import Verified
from resume_daemon.daemon.recorder import Recorder
from resume_daemon.daemon.roster import Clock
from resume_daemon.findings import Severity
from resume_daemon.ledger.ledger import Ledger
from resume_daemon.ledger.record import utc_now
from resume_daemon.verification import verify
from resume_daemon.watching import settle

if TYPE_CHECKING:
    from pathlib import Path


@dataclass
class Checkpoints:
    """What a daemon that was just started knows of the checkpoints of a run."""

    run: Path
    state: Path
    later: float = field(default=0.0, kw_only=True)

    def __post_init__(self) -> None:
        self.ledger = Ledger.open(self.state / "ledger.jsonl", "run")
        self.recorder = Recorder(
            self.ledger, run="run", host="here", sinks=(), minimum=Severity.WARNING
        )
        self.clock = Clock(lambda: 1e6 + self.later, lambda: utc_now().timestamp() + self.later)
        self.checkpoints = CheckpointKeeper(
            self.run,
            manifests=self.state / "manifests",
            recorder=self.recorder,
            settings=settle.Settings(settle=1.0, abandon=2.0),
            clock=self.clock,
            assign=lambda *_: None,
        )
        self.checkpoints.rescan()

    def verify_all(self) -> None:
        """Verify what is there and has not been, when it has settled."""
        self.checkpoints.rescan()
        self.later += 10.0
        while (job := self.checkpoints.plan().job) is not None:
            found = verify(self.run / job.checkpoint, boundary=self.run)
            self.checkpoints.on_verified(Verified(job.checkpoint, found))
