"""What the demo shows and judges: the daemon's ledger, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resume_daemon.errors import VanishedError
from resume_daemon.ledger.chain import verify
from resume_daemon.ledger.queries import RunState
from resume_daemon.ledger.reader import read_lines, read_records

if TYPE_CHECKING:
    from pathlib import Path

    from resume_daemon.ledger.chain import ChainReport


class LedgerView:
    """The fold of a ledger that somebody else is writing.

    Attributes:
        state: What it says now.
        delivered: Alerts that it records as delivered.
    """

    def __init__(self, ledger: Path) -> None:
        self.state = RunState()
        self.delivered = 0
        self._ledger = ledger

    def update(self) -> None:
        """Read on from where the last update stopped; a ledger that is not there yet is empty."""
        try:
            for record in read_records(self._ledger, self.state.seq):
                self.state.apply(record)
                if record.kind == "alert" and record.fields.get("outcome") == "delivered":
                    self.delivered += 1
        except VanishedError:
            return

    def verify(self) -> ChainReport:
        """Return whether the whole ledger holds together.

        Raises:
            VanishedError: There is none.
        """
        return verify(read_lines(self._ledger))
