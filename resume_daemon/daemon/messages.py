"""What side tasks tell the loop. The loop alone decides and writes; everything reaches it here."""

from __future__ import annotations

import queue
from dataclasses import dataclass
from typing import TYPE_CHECKING

from resume_daemon.errors import ResumeDaemonError

if TYPE_CHECKING:
    from resume_daemon.alerting.outbox import Closed
    from resume_daemon.curriculum.snapshot import SnapshotIndex
    from resume_daemon.curriculum.state import StateRead
    from resume_daemon.daemon.backup_task import BackupJob, BackupResult
    from resume_daemon.log_events.events import LogEvent
    from resume_daemon.log_events.follow import Position
    from resume_daemon.scrub import Scrub
    from resume_daemon.trackers.view import TrackerView
    from resume_daemon.verification import Verification


class UnwrittenError(ResumeDaemonError):
    """A file of our own could not be written: the disk is full, or became read-only."""


@dataclass(frozen=True, slots=True)
class Wake:
    """Something changed; what did is in the loop's ``Dirty``."""


@dataclass(frozen=True, slots=True)
class Signalled:
    """A signal arrived; its flag is set, and the loop should look at it."""


@dataclass(frozen=True, slots=True)
class Verified:
    """The worker looked at a checkpoint."""

    checkpoint: str
    result: Verification | ResumeDaemonError


@dataclass(frozen=True, slots=True)
class Scrubbed:
    """The worker read the checkpoint with this fingerprint again, or a part of it."""

    checkpoint: str
    fingerprint: str
    result: Scrub


@dataclass(frozen=True, slots=True)
class Snapshotted:
    """The worker wrote a snapshot of the listing with this fingerprint."""

    checkpoint: str
    fingerprint: str
    result: SnapshotIndex | ResumeDaemonError


@dataclass(frozen=True, slots=True)
class BackupDone:
    """The backup task did a job, or could not."""

    job: BackupJob
    result: BackupResult | ResumeDaemonError


@dataclass(frozen=True, slots=True)
class StatesRead:
    """The curriculum files were read; only those that changed, or that cannot be read."""

    reads: tuple[StateRead, ...]


@dataclass(frozen=True, slots=True)
class TrackerPolled:
    """The tracker's logs were read."""

    view: TrackerView


@dataclass(frozen=True, slots=True)
class Told:
    """One event of a trainer's log, and up to where that log was read then."""

    path: str
    event: LogEvent
    position: Position


@dataclass(frozen=True, slots=True)
class LogRead:
    """The trainer's logs were read."""

    told: tuple[Told, ...]


@dataclass(frozen=True, slots=True)
class AlertClosed:
    """A sink took an alert, or refused it for good."""

    closed: Closed


@dataclass(frozen=True, slots=True)
class TaskEnded:
    """A side task ended although nobody asked it to."""

    task: str
    error: BaseException | None


Message = (
    Wake
    | Signalled
    | Verified
    | Scrubbed
    | Snapshotted
    | BackupDone
    | StatesRead
    | TrackerPolled
    | LogRead
    | AlertClosed
    | TaskEnded
)


class Inbox:
    """Where the loop waits. ``put`` is safe from any thread and from a signal handler.

    ``queue.SimpleQueue`` is the one queue of the standard library whose ``put`` is reentrant.
    """

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Message] = queue.SimpleQueue()

    def put(self, message: Message) -> None:
        """Leave a message for the loop."""
        self._queue.put(message)

    def wait(self, timeout: float) -> list[Message]:
        """Return every message that is there, waiting up to ``timeout`` seconds for the first."""
        try:
            found = [self._queue.get(timeout=max(timeout, 0.0))]
        except queue.Empty:
            return []
        while True:
            try:
                found.append(self._queue.get_nowait())
            except queue.Empty:
                return found
