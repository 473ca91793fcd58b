"""Give way: take little of a processor while others want it.

The lowest priority (``priority``) is not enough. It counts among the threads of one group alone,
and a systemd unit, a container and a terminal's session are groups of their own (``sched(7)``, "The
autogroup feature"), between which a processor is shared out whatever the priorities within. So each
thread that reads looks how long it was ready and had to wait (the second number in
``/proc/thread-self/schedstat``; Linux, ``Documentation/scheduler/sched-stats.rst``), and rests as
long as that is much.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Final

_LEAST: Final = 0.005
"""The share of one processor that all workers together keep, however much others want it.

A training that waits for its slowest thread loses as much; 100 GB take an hour."""

_TOLERATED: Final = 0.2
"""How long a thread may have waited, in times that it ran, without others being in need."""

_WAKING_SECONDS: Final = 0.0002
"""What a thread may have waited besides: an idle processor takes so long to wake up at most."""

_SLOWER: Final = 0.5
_FASTER: Final = 1.25
"""What the share is multiplied by when others were in need, and when they were not.

As TCP's window, it falls faster than it rises: in the long run it stays low where one look in four
finds others in need, and high where fewer do. Where there is nobody else, and a thread waits as its
own group may use no more (a quota, fewer processors than workers), it settles near that.
"""

_LOOK_SECONDS: Final = 0.004
"""The shortest time between two looks: one costs some microseconds."""

_SCHEDSTAT: Final = Path("/proc/thread-self/schedstat")


class Share:
    """How much of a processor a thread takes: the decision, without a clock or a rest of its own.

    Args:
        least: The share that it keeps in any case, above 0 and at most 1.
    """

    def __init__(self, least: float) -> None:
        self._least = least
        self._share = 1.0

    def rest(self, ran: float, waited: float) -> float:
        """Return the seconds to rest after ``ran`` seconds, in which it ``waited`` besides."""
        if waited > _TOLERATED * ran + _WAKING_SECONDS:
            self._share = max(self._least, self._share * _SLOWER)
        else:
            self._share = min(1.0, self._share * _FASTER)
        return ran * (1 / self._share - 1)


class GivingWay(threading.local):
    """How long the calling thread should rest; each thread has a share of its own.

    Args:
        workers: How many threads there are.
    """

    def __init__(self, workers: int) -> None:
        # Called anew in each thread that uses it (threading.local).
        self._share = Share(_LEAST / workers)
        self._times = thread_times()
        self._looked = time.monotonic()

    def rest(self) -> float:
        """Return the seconds to rest now: 0 where nobody is in need, or the kernel does not say."""
        now = time.monotonic()
        if self._times is None or now - self._looked < _LOOK_SECONDS:
            return 0.0
        self._looked = now
        before, self._times = self._times, thread_times()
        if self._times is None:
            return 0.0
        return self._share.rest(self._times[0] - before[0], self._times[1] - before[1])


def thread_times() -> tuple[float, float] | None:
    """Return for how long the calling thread ran and waited to run, in seconds.

    None where the kernel does not say (no Linux, or one without ``CONFIG_SCHED_INFO``).
    """
    try:
        ran, waited = _SCHEDSTAT.read_bytes().split()[:2]
        return int(ran) / 1e9, int(waited) / 1e9
    except (OSError, ValueError):
        return None
