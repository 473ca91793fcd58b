"""Named side tasks: threads that observe, each with a stop, and a loop that hears when one dies."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import structlog

from resume_daemon.errors import CancelledError

if TYPE_CHECKING:
    from collections.abc import Callable

log = structlog.get_logger()


class Stopping:
    """Tells a side task to stop, and lets it wait for that or for being woken."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._stopped = False
        self._woken = False

    def __call__(self) -> bool:
        """Return whether the task should end now."""
        return self._stopped

    def stop(self) -> None:
        """Ask the task to end."""
        with self._condition:
            self._stopped = True
            self._condition.notify_all()

    def wake(self) -> None:
        """End the task's present or next wait early."""
        with self._condition:
            self._woken = True
            self._condition.notify_all()

    def wait(self, seconds: float) -> bool:
        """Wait until woken, stopped or ``seconds`` have passed; return whether to go on."""
        with self._condition:
            self._condition.wait_for(lambda: self._stopped or self._woken, timeout=seconds)
            self._woken = False
            return not self._stopped


class SideTask:
    """One named thread.

    Args:
        name: Shown in logs, in ``top -H`` and where it dies.
        body: Runs until its ``Stopping`` says so; what it raises is handed to ``ended``.
        ended: Told the name and the error when the body ends without having been asked.
    """

    def __init__(
        self,
        name: str,
        body: Callable[[Stopping], None],
        ended: Callable[[str, BaseException | None], None],
    ) -> None:
        self.name = name
        self.stopping = Stopping()
        self._body = body
        self._ended = ended
        # A daemon thread: one that hangs in a read of a dead network file system must not keep the
        # process from ending.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def join(self, seconds: float) -> bool:
        """Wait for the end; return whether it came in time."""
        self._thread.join(max(seconds, 0.0))
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self._body(self.stopping)
        except CancelledError:
            pass
        except BaseException as error:
            log.exception("side task died", task=self.name)
            self._ended(self.name, error)
            return
        if not self.stopping():
            self._ended(self.name, None)


def stop_all(tasks: list[SideTask], seconds: float) -> list[str]:
    """Stop every task within ``seconds`` together; return the names of those that did not end."""
    deadline = time.monotonic() + seconds
    for task in tasks:
        task.stopping.stop()
    return [task.name for task in tasks if not task.join(deadline - time.monotonic())]
