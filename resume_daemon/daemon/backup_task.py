"""The side task that copies checkpoints elsewhere: one job at a time, behind all verifications."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from resume_daemon.backup.copying import Outcome, Subject, back_up
from resume_daemon.backup.destinations import open_destination
from resume_daemon.backup.inventory import Inventory, remove_backup, take_inventory
from resume_daemon.backup.pace import Pace
from resume_daemon.daemon.jobs import Jobs, outcome
from resume_daemon.daemon.messages import BackupDone
from resume_daemon.reading.priority import lower_priority

if TYPE_CHECKING:
    from collections.abc import Callable

    from resume_daemon.backup.address import Address
    from resume_daemon.backup.destinations import Destination
    from resume_daemon.daemon.messages import Message
    from resume_daemon.daemon.supervision import Stopping
    from resume_daemon.errors import ResumeDaemonError

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Place:
    """Where backups go, and how.

    Attributes:
        address: The destination.
        folder: The run's directory there.
        hard_links: Whether files may be linked where they cannot be cloned.
        bytes_per_second: The most that is read and written; None for no limit.
        keep_page_cache: Whether the page cache is left as it was found.
    """

    address: Address
    folder: str
    hard_links: bool
    bytes_per_second: int | None
    keep_page_cache: bool


@dataclass(frozen=True, slots=True)
class LookJob:
    """See what is at the destination."""

    place: Place


@dataclass(frozen=True, slots=True)
class CopyJob:
    """Back a checkpoint up."""

    place: Place
    subject: Subject


@dataclass(frozen=True, slots=True)
class DropJob:
    """Remove a backup, or the remains of one, if those that are to stay are there."""

    place: Place
    id: str
    staying: frozenset[str]


BackupJob = LookJob | CopyJob | DropJob
BackupResult = Inventory | Outcome | None
"""What is there (also where a drop was refused, as what should stay is not); what was copied; None
for what was dropped."""


class BackupTask:
    """Does the slow copying, so that the loop never waits for a network.

    Args:
        idle: Whether the training goes first, on processors and disks.
        held: Whether a verification goes first now.
        put: Takes each result.
    """

    def __init__(
        self, *, idle: bool, held: Callable[[], bool], put: Callable[[Message], None]
    ) -> None:
        self._idle = idle
        self._held = held
        self._put = put
        self._jobs: Jobs[BackupJob] = Jobs()

    def submit(self, job: BackupJob) -> None:
        """Leave a job; its result comes as a message."""
        self._jobs.submit(job)

    def give_up(self) -> None:
        """End the present job soon; what it has sent stays for the next one."""
        self._jobs.give_up()

    def body(self, stopping: Stopping) -> None:
        """Do jobs until told to stop; the body of the side task."""
        if self._idle:
            lower_priority()  # The verifier has said it where that was refused.
        for job in self._jobs.taken(stopping):
            self._put(BackupDone(job, self.result(job, stopping)))

    def result(self, job: BackupJob, stopping: Stopping) -> BackupResult | ResumeDaemonError:
        """Return what a job gave, or the error that it ended with."""
        place = job.place

        def work() -> BackupResult:
            destination = open_destination(place.address, place.folder, hard_links=place.hard_links)
            return self._do(job, destination, stopping)

        return outcome(work, stopping, operation="back up to", where=str(place.address))

    def _do(self, job: BackupJob, destination: Destination, stopping: Stopping) -> BackupResult:
        match job:
            case LookJob():
                return take_inventory(destination)
            case CopyJob():
                pace = Pace(
                    job.place.bytes_per_second,
                    keep_page_cache=job.place.keep_page_cache,
                    give_way=self._idle,
                    cancelled=lambda: stopping() or self._jobs.given_up(),
                    held=self._held,
                )
                return back_up(job.subject, destination, pace)
            case DropJob():
                found = take_inventory(destination)
                if not job.staying <= {each.id for each in found.backups}:
                    return found
                remove_backup(destination, job.id)
                return None
