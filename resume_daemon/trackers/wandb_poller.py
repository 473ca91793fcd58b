"""A side task that keeps asking the W&B server, and can never make the daemon wait."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from resume_daemon.trackers.wandb_api import (
    ApiError,
    ApiState,
    RateLimitedError,
    UnreachableError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

MIN_INTERVAL = 15.0
"""Seconds between two rows of news: wandb sends its file stream every 15 s (0.28.0, 0.31.0)."""

MAX_DELAY = 900.0
"""Seconds after which a server that failed is asked again at the latest."""


@dataclass(frozen=True, slots=True)
class ApiAnswer:
    """The last thing known from the server.

    Attributes:
        state: The last state, or None before the first; kept while the server fails.
        at: When ``state`` was received, UTC.
        error: Why the newest request failed, or None if it did not.
        failures: Requests that failed since the last state.
    """

    state: ApiState | None = None
    at: datetime | None = None
    error: ApiError | None = None
    failures: int = 0


def next_delay(error: ApiError | None, failures: int, interval: float) -> float:
    """Return the seconds until the next request.

    A server that is down is asked half as often after each failure; one that asks for patience gets
    what it asks for, at least; a refused key or a missing run, which only a person mends, is asked
    about at the longest delay.

    Args:
        error: Why the newest request failed, or None.
        failures: Requests that failed in a row, this one included.
        interval: Seconds between requests that succeed.
    """
    interval = max(interval, MIN_INTERVAL)
    if error is None:
        return interval
    # The exponent is bounded, so that a year of failures makes no enormous number.
    backoff = min(interval * 2.0 ** min(failures, 10), max(MAX_DELAY, interval))
    if isinstance(error, RateLimitedError):
        return max(backoff, error.retry_after or 0.0)
    return backoff if isinstance(error, UnreachableError) else max(MAX_DELAY, interval)


class ApiPoller:
    """Calls ``fetch`` again and again in a thread named ``wandb-api``.

    Args:
        fetch: One request, bounded in time; raises ``ApiError``.
        interval: Seconds between requests; below ``MIN_INTERVAL`` there would be no news.
        wake: Called after each request from the poller's thread, to wake the daemon's loop.
    """

    def __init__(
        self,
        fetch: Callable[[], ApiState],
        interval: float = 30.0,
        wake: Callable[[], None] = lambda: None,
    ) -> None:
        self._fetch = fetch
        self._interval = interval
        self._wake = wake
        self._answer = ApiAnswer()
        self._stop = threading.Event()
        # A daemon thread: a request that hangs must not keep the process from ending.
        self._thread = threading.Thread(target=self._run, name="wandb-api", daemon=True)

    def start(self) -> None:
        """Start asking; once only."""
        self._thread.start()

    def latest(self) -> ApiAnswer:
        """Return what is known now; never waits."""
        return self._answer

    def is_alive(self) -> bool:
        """Return whether the thread runs; if not though started, it met a fault of this program."""
        return self._thread.is_alive()

    def stop(self, timeout: float = 1.0) -> None:
        """Ask the thread to end and wait for at most ``timeout`` seconds."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(timeout)

    def _run(self) -> None:
        delay = 0.0
        while not self._stop.wait(delay):
            try:
                state = self._fetch()
            except ApiError as error:
                failures = self._answer.failures + 1
                self._answer = replace(self._answer, error=error, failures=failures)
            else:
                self._answer = ApiAnswer(state, datetime.now(UTC))
            delay = next_delay(self._answer.error, self._answer.failures, self._interval)
            self._wake()
