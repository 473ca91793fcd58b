"""What readers ask before every read, so that they never get ahead of what they may."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from resume_daemon.reading.giving_way import GivingWay

if TYPE_CHECKING:
    from collections.abc import Callable

_BURST_SECONDS = 0.25
"""How much unused allowance is kept: enough to hide a hiccup, too little to be felt as a burst."""

_SLICE_SECONDS = 0.05
"""How long a wait goes on before it looks whether it should end."""


class TokenBucket:
    """How long to wait, given the clock: the decision, without a clock or a wait of its own.

    The level may become negative: a request larger than the bucket is granted on credit, and those
    that follow wait until it is paid off.
    """

    def __init__(self, bytes_per_second: int, now: float) -> None:
        self._rate = bytes_per_second
        self._burst = bytes_per_second * _BURST_SECONDS
        self._level = self._burst
        self._at = now

    def take(self, amount: int, now: float) -> float:
        """Grant ``amount`` bytes; return the seconds to wait before they are read."""
        self._level = min(self._burst, self._level + (now - self._at) * self._rate) - amount
        self._at = now
        return max(0.0, -self._level / self._rate)


class Throttle:
    """A ceiling on bytes per second that all threads share, and a rest while others are in need.

    Args:
        bytes_per_second: The most that all threads together read; None for no limit.
        give_way: Whether they rest while others want the processors.
        workers: How many threads share it.
    """

    def __init__(
        self, bytes_per_second: int | None = None, *, give_way: bool = False, workers: int = 1
    ) -> None:
        self._lock = threading.Lock()
        self._bucket = (
            None if bytes_per_second is None else TokenBucket(bytes_per_second, time.monotonic())
        )
        self._giving_way = GivingWay(workers) if give_way else None
        # Never set: waiting on it is a sleep that other threads do not notice.
        self._never = threading.Event()

    def wait(self, amount: int, cancelled: Callable[[], bool]) -> None:
        """Return when ``amount`` bytes may be read, or soon after ``cancelled`` says so."""
        due = 0.0
        if self._bucket is not None:
            with self._lock:
                now = time.monotonic()
                due = now + self._bucket.take(amount, now)
        if self._giving_way is not None and (rest := self._giving_way.rest()):
            due = max(due, time.monotonic() + rest)
        if not due:
            return
        while (left := due - time.monotonic()) > 0 and not cancelled():
            self._never.wait(min(left, _SLICE_SECONDS))
