"""Say now and then how far a long reading is, so that nobody takes it for one that hangs."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable

log = structlog.get_logger()

_EVERY_SECONDS: Final = 60.0
_MIB: Final = 1024 * 1024


class StillReading:
    """Told the bytes of each read by any thread; says once a minute what they come to.

    Args:
        checkpoint: What is read.
        clock: Seconds that only grow.
    """

    def __init__(self, checkpoint: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._checkpoint = checkpoint
        self._clock = clock
        self._lock = threading.Lock()
        self._begin = clock()
        self._due = self._begin + _EVERY_SECONDS
        self._read = 0

    def __call__(self, amount: int) -> None:
        """Take the bytes of one read."""
        with self._lock:
            self._read += amount
            now = self._clock()
            if now < self._due:
                return
            self._due = now + _EVERY_SECONDS
            read = self._read // _MIB
        seconds = round(now - self._begin)
        log.info("still reading", checkpoint=self._checkpoint, mib=read, seconds=seconds)
