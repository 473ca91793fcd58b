"""Delivery: one thread per sink sends what is pending, and never holds up the loop.

A sink that hangs, in a name server or a slow answer, holds up only itself. Which alerts are pending
is told afresh with every ``submit``: the ledger knows, nothing here has to be saved.
"""

from __future__ import annotations

import random
import threading
import time
import traceback
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from resume_daemon.alerting.outbox import Closed
from resume_daemon.alerting.retry import Delivered, Failed, Retry, decide
from resume_daemon.alerting.sinks import Outcome
from resume_daemon.logs import after_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from resume_daemon.alerting.outbox import Alert
    from resume_daemon.alerting.sinks import Sink
    from resume_daemon.logs import Streak

LOG_INTERVAL = 3600.0
"""Seconds between two log lines about the same failing sink."""

_STUBBORN = 10
_SERVER_ERROR = 500
_IDLE_WAIT = 60.0


class Delivery:
    """Sends alerts, in order for each sink, and reports each that is closed.

    Args:
        sinks: Where to send; their names are distinct.
        report: Called from a sink's thread with each alert that is closed. It must return at once
            (put it into a queue for the ledger's one writer).
        clock: Seconds that only grow; spaces messages and log lines.
        now: This moment in UTC, to read a date in ``Retry-After`` against.
        jitter: A number from 0 to 1.
        pause: Waits until the event is set or for so many seconds; returns whether it is set.
    """

    def __init__(
        self,
        sinks: Iterable[Sink],
        report: Callable[[Closed], None],
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        jitter: Callable[[], float] = random.random,
        pause: Callable[[threading.Event, float], bool] = threading.Event.wait,
    ) -> None:
        def next_step(outcome: Outcome, attempt: int) -> Delivered | Failed | Retry:
            return decide(outcome, attempt, now(), jitter=jitter())

        self._lanes = {sink.name: _Lane(sink, report, next_step, clock, pause) for sink in sinks}

    def start(self) -> None:
        """Start the threads."""
        for lane in self._lanes.values():
            lane.thread.start()

    def alive(self) -> bool:
        """Return whether every thread runs; one that does not died of an error of ours."""
        return all(lane.thread.is_alive() for lane in self._lanes.values())

    def submit(self, pending: Sequence[Alert]) -> None:
        """Take over everything that the outbox says is pending now; returns at once.

        Always pass all of it: an alert that was closed here is remembered for as long as it is
        still passed, which means that its ``alert`` record is not written yet, and is not sent
        again; one that is passed no more is forgotten.
        """
        for name, lane in self._lanes.items():
            lane.submit([alert for alert in pending if alert.sink == name])

    def stop(self, timeout: float) -> bool:
        """Send what can be sent at once, and stop within ``timeout`` seconds.

        Nothing is retried any more. What was not sent stays pending in the ledger. Record what was
        reported until this returns before the outbox is asked again.

        Returns:
            Whether every thread has ended; one that has not is in the middle of a message, whose
            report comes too late: it will be sent again.
        """
        deadline = time.monotonic() + timeout
        for lane in self._lanes.values():
            lane.finish()
        for lane in self._lanes.values():
            if lane.thread.ident is not None:
                lane.thread.join(max(0.0, deadline - time.monotonic()))
            lane.halted.set()
        return not any(lane.thread.is_alive() for lane in self._lanes.values())


class _Lane:
    """One sink, its thread, and what is pending for it."""

    def __init__(
        self,
        sink: Sink,
        report: Callable[[Closed], None],
        next_step: Callable[[Outcome, int], Delivered | Failed | Retry],
        clock: Callable[[], float],
        pause: Callable[[threading.Event, float], bool],
    ) -> None:
        self.thread = threading.Thread(target=self._run, name=f"alerts-{sink.name}", daemon=True)
        self.finishing = threading.Event()
        self.halted = threading.Event()
        self._sink = sink
        self._report = report
        self._next_step = next_step
        self._clock = clock
        self._pause = pause
        self._changed = threading.Condition()
        self._waiting: list[Alert] = []
        self._closed: set[str] = set()
        self._refusals: Counter[str] = Counter()
        self._disabled = ""
        self._streak: Streak | None = None
        self._log = structlog.get_logger().bind(sink=sink.name)

    def submit(self, pending: list[Alert]) -> None:
        ids = {alert.id for alert in pending}
        with self._changed:
            self._closed &= ids
            self._waiting = [alert for alert in pending if alert.id not in self._closed]
            for forgotten in self._refusals.keys() - ids:
                del self._refusals[forgotten]
            self._changed.notify()

    def finish(self) -> None:
        self.finishing.set()
        with self._changed:
            self._changed.notify()

    def _run(self) -> None:
        free_at = self._clock()
        while (alert := self._next()) is not None:
            if self._disabled:
                self._close(alert, Failed(f"not sent: {self._disabled}"))
                continue
            if (wait := free_at - self._clock()) > 0 and self._pause(self.halted, wait):
                return
            step = self._attempt(alert)
            free_at = self._clock() + self._sink.interval
            if not isinstance(step, Retry):
                self._close(alert, step)
            elif self._pause(self.finishing, step.after):
                return

    def _next(self) -> Alert | None:
        with self._changed:
            while not self._waiting:
                if self.finishing.is_set():
                    return None
                self._changed.wait(_IDLE_WAIT)
            if self.halted.is_set():
                return None
            # In order; but an alert that the receiver (or the sink) keeps breaking on lets the
            # others pass, or one message could silence the sink for ever.
            return min(self._waiting, key=lambda alert: self._refusals[alert.id] // _STUBBORN)

    def _attempt(self, alert: Alert) -> Delivered | Failed | Retry:
        try:
            outcome = self._sink.send(self._sink.render(alert))
        except Exception as error:  # noqa: BLE001 - a broken sink must not end alerting; it is told
            outcome, broken = Outcome(None, _where(error)), True
        else:
            broken = outcome.status == _SERVER_ERROR
        with self._changed:
            self._refusals[alert.id] += broken
            in_a_row = self._streak.errors if self._streak else 0
            attempt = max(in_a_row + 1, self._refusals[alert.id])
        step = self._next_step(outcome, attempt)
        if isinstance(step, Retry):
            self._note_error(step)
        elif isinstance(step, Delivered) and self._streak:
            self._log.info("alerts are delivered again", errors_before=self._streak.errors)
            self._streak = None
        return step

    def _note_error(self, step: Retry) -> None:
        self._streak, held_back = after_error(self._streak, self._clock(), LOG_INTERVAL)
        if held_back is None:
            return
        self._log.warning(
            "alert cannot be delivered; it is tried again until it can",
            reason=step.reason,
            errors=self._streak.errors,
            waiting=len(self._waiting),
            next_attempt_seconds=round(step.after, 1),
        )

    def _close(self, alert: Alert, step: Delivered | Failed) -> None:
        with self._changed:
            self._closed.add(alert.id)
            self._waiting = [other for other in self._waiting if other.id != alert.id]
        if isinstance(step, Delivered):
            self._report(Closed(alert, "delivered"))
            return
        if step.disables:
            self._disabled = step.reason
        self._log.error("alert is given up", id=alert.id, reason=step.reason)
        self._report(Closed(alert, "failed", step.reason))


def _where(error: Exception) -> str:
    """Say what broke and where, without the text of the error: that may hold the URL."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{Path(frame.filename).name}:{frame.lineno}"
    return f"the sink itself failed with {type(error).__name__} at {place}"
