"""What happens while nothing can be written: a full disk must not be silent, nor lose anything."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from blake3 import blake3

from resume_daemon.alerting.conditions import Flip, State
from resume_daemon.alerting.outbox import Alert
from resume_daemon.errors import ResumeDaemonError
from resume_daemon.health import storage_condition

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from resume_daemon.alerting.outbox import Closed
    from resume_daemon.daemon.recorder import Recorder

RETRY_SECONDS = 5.0
"""How often writing is tried again."""


class Storage:
    """Whether records can be written, and the one alert that does not wait for the ledger.

    Everything else is recorded before it is sent. This cannot be: so it is sent at once, and
    recorded when there is room again.

    Args:
        recorder: The ledger's writer.
        state: The state directory, named to whoever has to make room.
        run: The run's name in alerts.
        host: This host's name.
        clock: Monotonic seconds.
    """

    def __init__(
        self, recorder: Recorder, state: Path, run: str, host: str, clock: Callable[[], float]
    ) -> None:
        self._recorder = recorder
        self._state = state
        self._run = run
        self._host = host
        self._clock = clock
        self._blocked: Flip | None = None
        self._retry = 0.0
        self._direct: dict[str, Alert] = {}

    @property
    def blocked(self) -> bool:
        """Whether the last write failed."""
        return self._blocked is not None

    def may_write(self) -> bool:
        """Return whether writing should be tried now."""
        return self._blocked is None or self._clock() >= self._retry

    def retry_at(self) -> float | None:
        """Return when to try again (monotonic), or None while nothing is blocked."""
        return self._retry if self._blocked is not None else None

    def block(self, error: Exception) -> bool:
        """Note that a write failed; return whether that is news."""
        self._retry = self._clock() + RETRY_SECONDS
        if self._blocked is not None:
            return False
        condition = storage_condition(f"Records cannot be written to {self._state}: {why(error)}.")
        now = datetime.now(UTC)
        self._blocked = Flip(condition, State.FIRING, since=now, at=now)
        if condition.key not in self._recorder.outbox.firing:
            name = f"{self._host}\0{self._run}\0{condition.key}\0{now.isoformat()}"
            message = f"msg_{blake3(name.encode()).hexdigest(length=16)}"
            self._direct = {
                sink: Alert(message, sink, run=self._run, host=self._host, flip=self._blocked)
                for sink in self._recorder.sinks
            }
        return True

    def recover(self) -> bool:
        """Record what could not be recorded when it began; return whether something was blocked.

        To be called after work that went well. Work that had nothing to write proves nothing, so
        this write is the proof; the condition resolves at the next judgement.

        Raises:
            LedgerError: Records still cannot be written.
        """
        if self._blocked is None:
            return False
        if self._blocked.condition.key not in self._recorder.outbox.firing:
            self._recorder.record_told(self._blocked)
        self._blocked = None
        return True

    def pending(self) -> tuple[Alert, ...]:
        """Return every alert that is owed now."""
        return (*self._direct.values(), *self._recorder.outbox.pending())

    def close(self, closed: Closed) -> None:
        """Take note that an alert is owed no more.

        Raises:
            LedgerError: It could not be recorded; it may be handed in again.
        """
        if self._direct.get(closed.alert.sink) == closed.alert:
            del self._direct[closed.alert.sink]
        else:
            self._recorder.close(closed)


def why(error: Exception) -> str:
    """Return why a write failed, without a full stop."""
    if isinstance(error, ResumeDaemonError):
        return error.reason
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
