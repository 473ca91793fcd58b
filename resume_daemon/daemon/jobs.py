"""Jobs that one side task does, one at a time, and how they end."""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING, Generic, TypeVar

import structlog

from resume_daemon.errors import CancelledError, ResumeDaemonError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from resume_daemon.daemon.supervision import Stopping

log = structlog.get_logger()

Job = TypeVar("Job")
Result = TypeVar("Result")

_LOOK_SECONDS = 0.5
"""How often a task without work looks whether it is to stop."""


class Jobs(Generic[Job]):
    """A queue of jobs, of which the present one can be given up."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self._given_up = threading.Event()

    def submit(self, job: Job) -> None:
        """Leave a job."""
        self._given_up.clear()
        self._queue.put(job)

    def give_up(self) -> None:
        """End the present job soon."""
        self._given_up.set()

    def given_up(self) -> bool:
        """Return whether the present job is to end."""
        return self._given_up.is_set()

    def taken(self, stopping: Stopping) -> Iterator[Job]:
        """Yield jobs as they come, until told to stop."""
        while not stopping():
            try:
                yield self._queue.get(timeout=_LOOK_SECONDS)
            except queue.Empty:
                continue


def outcome(
    work: Callable[[], Result], stopping: Stopping, *, operation: str, where: str
) -> Result | ResumeDaemonError:
    """Return what work gave, or the error that it ended with.

    What nobody foresaw of one checkpoint must not keep the daemon from the others, so a defect of
    ours, or of a package, becomes a reported condition as well.

    Args:
        work: What to do.
        stopping: Whether the daemon stops: then what was cancelled is no outcome.
        operation: What is attempted, for errors that do not say it.
        where: On what.

    Raises:
        CancelledError: The daemon stops.
    """
    try:
        return work()
    except CancelledError as error:
        if stopping():
            raise
        return error
    except ResumeDaemonError as error:
        return error
    except OSError as error:
        return ResumeDaemonError(operation, error.filename or where, error.strerror or str(error))
    except Exception as error:
        log.exception("a defect of resume_daemon; please report it")
        return ResumeDaemonError(operation, where, f"an unexpected {type(error).__name__}: {error}")
