"""The side task that keeps a fleet's database up to date with this run's ledger."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from resume_daemon.errors import ResumeDaemonError
from resume_daemon.ledger.reader import read_records
from resume_daemon.logs import RateLimited

if TYPE_CHECKING:
    from pathlib import Path

    from resume_daemon.daemon.supervision import Stopping

PERIOD_SECONDS = 5.0


class IndexTask:
    """Copies new records every few seconds. A database that is away costs nothing but lateness.

    Args:
        url: SQLAlchemy URL of the database.
        run: The run's name in it.
        ledger: The ledger's path.
    """

    def __init__(self, url: str, run: str, ledger: Path) -> None:
        self._url = url
        self._run = run
        self._ledger = ledger
        self._errors = RateLimited()

    def body(self, stopping: Stopping) -> None:
        """Copy until told to stop; the body of the side task."""
        while stopping.wait(PERIOD_SECONDS):
            with self._errors.quiet("the index cannot be brought up to date", ResumeDaemonError):
                self.sync()

    def sync(self) -> int:
        """Copy what is new; return how many records that was.

        Raises:
            ResumeDaemonError: The database or the ledger cannot be reached.
        """
        from resume_daemon.ledger.index import Index  # noqa: PLC0415 - SQLAlchemy has 27 MiB

        with Index(self._url) as index:
            return index.sync(self._run, partial(read_records, self._ledger))
