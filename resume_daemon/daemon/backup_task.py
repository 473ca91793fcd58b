"""The side task that copies checkpoints elsewhere: one job at a time, behind all verifications."""

from __future__ import annotations

import queue
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from resume_daemon.backup.copying import Outcome, Subject, back_up
from resume_daemon.backup.destinations import open_destination
from resume_daemon.backup.inventory import Inventory, remove_backup, take_inventory
from resume_daemon.backup.pace import Pace
from resume_daemon.daemon.messages import BackupDone
from resume_daemon.errors import CancelledError, ResumeDaemonError
from resume_daemon.reading.priority import lower_priority

if TYPE_CHECKING:
    from collections.abc import Callable

    from resume_daemon.backup.address import Address
    from resume_daemon.backup.destinations import Destination
    from resume_daemon.daemon.messages import Message
    from resume_daemon.daemon.supervision import Stopping

log = structlog.get_logger()

_LOOK_SECONDS = 0.5
"""How long the task waits for a job before it looks whether it should end."""


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
        self._jobs: queue.SimpleQueue[BackupJob] = queue.SimpleQueue()
        self._given_up = threading.Event()

    def submit(self, job: BackupJob) -> None:
        """Leave a job; its result comes as a message."""
        self._given_up.clear()
        self._jobs.put(job)

    def give_up(self) -> None:
        """End the present job soon; what it has sent stays for the next one."""
        self._given_up.set()

    def body(self, stopping: Stopping) -> None:
        """Do jobs until told to stop; the body of the side task."""
        if self._idle:
            lower_priority()  # The verifier has said it where that was refused.
        while not stopping():
            try:
                job = self._jobs.get(timeout=_LOOK_SECONDS)
            except queue.Empty:
                continue
            self._put(BackupDone(job, self._guarded(job, stopping)))

    def _guarded(self, job: BackupJob, stopping: Stopping) -> BackupResult | ResumeDaemonError:
        """Return what the job gave, or the error that it ended with.

        What a protocol's package does not foresee must not end the daemon.
        """
        try:
            place = job.place
            destination = open_destination(place.address, place.folder, hard_links=place.hard_links)
            return self._do(job, destination, stopping)
        except CancelledError as error:
            if stopping():
                raise
            return error
        except ResumeDaemonError as error:
            return error
        except OSError as error:
            return ResumeDaemonError("back up", error.filename, error.strerror or str(error))
        except Exception as error:
            log.exception("a defect of resume_daemon; please report it")
            reason = f"an unexpected {type(error).__name__}: {error}"
            return ResumeDaemonError("back up to", str(job.place.address), reason)

    def _do(self, job: BackupJob, destination: Destination, stopping: Stopping) -> BackupResult:
        match job:
            case LookJob():
                return take_inventory(destination)
            case CopyJob():
                pace = Pace(
                    job.place.bytes_per_second,
                    keep_page_cache=job.place.keep_page_cache,
                    cancelled=lambda: stopping() or self._given_up.is_set(),
                    held=self._held,
                )
                return back_up(job.subject, destination, pace)
            case DropJob():
                found = take_inventory(destination)
                if not job.staying <= {each.id for each in found.backups}:
                    return found
                remove_backup(destination, job.id)
                return None
