"""How a backup keeps out of the training's way: paused, slowed down and stopped from outside."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from resume_daemon.errors import CancelledError
from resume_daemon.reading.throttle import Throttle

if TYPE_CHECKING:
    from collections.abc import Callable

_LOOK_SECONDS = 0.2
"""How long a pause goes on before it looks whether it should end."""


class Pace:
    """Asked before every read and every write, so that a backup never gets ahead of what it may.

    Args:
        bytes_per_second: The most that is read and written together; None for no limit.
        keep_page_cache: Whether pages that were not in memory are dropped again after a read.
        give_way: Whether it rests while others want the processors.
        cancelled: Whether the work should end.
        held: Whether the work should wait: a verification goes first.
        progress: Told the bytes of each read of the checkpoint.
    """

    def __init__(
        self,
        bytes_per_second: int | None = None,
        *,
        keep_page_cache: bool = True,
        give_way: bool = False,
        cancelled: Callable[[], bool] = lambda: False,
        held: Callable[[], bool] = lambda: False,
        progress: Callable[[int], None] = lambda _: None,
    ) -> None:
        self.keep_page_cache = keep_page_cache
        self.progress = progress
        self._throttle = Throttle(bytes_per_second, give_way=give_way)
        self._cancelled = cancelled
        self._held = held
        # Never set: waiting on it is a sleep that other threads do not notice.
        self._never = threading.Event()

    def take(self, amount: int) -> None:
        """Return when ``amount`` bytes may be read or written.

        Raises:
            CancelledError: The work should end.
        """
        while self._held() and not self._cancelled():
            self._never.wait(_LOOK_SECONDS)
        self._throttle.wait(amount, self._cancelled)
        if self._cancelled():
            raise CancelledError("back up", None, "the work was stopped")
