"""Let the training go first: the lowest priority for a thread, on processors and disks.

On Linux both belong to a thread, and the threads that it starts inherit them (``sched(7)``,
``ioprio_set(2)``). ``SCHED_IDLE`` gets 0.3 % of a core that a training wants whole, nice 19 alone
1.4 %; on a core that nobody wants it makes no difference.
"""

from __future__ import annotations

import ctypes
import os
import platform
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_SYS_IOPRIO_SET = {"x86_64": 251, "aarch64": 30, "ppc64le": 273, "riscv64": 30}
"""The number of the call, for which the C library has no function (``asm/unistd.h``)."""

_IOPRIO_WHO_PROCESS = 1
_IOPRIO_IDLE = 3 << 13
"""``IOPRIO_PRIO_VALUE(IOPRIO_CLASS_IDLE, 0)`` of ``linux/ioprio.h``."""

_NICEST = 19


def lower_priority() -> str:
    """Give the calling thread, and those that it starts, the lowest priority.

    It cannot be raised again without privileges.

    Returns:
        What was refused and why, or an empty text. A filter on system calls refuses all of it.
    """
    refused = []
    calls: dict[str, Callable[[], None]] = {
        "nice": lambda: os.setpriority(os.PRIO_PROCESS, 0, _NICEST),
        "scheduler": lambda: os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0)),
        "disk": _set_io_idle,
    }
    for name, call in calls.items():
        try:
            call()
        except OSError as error:
            refused.append(f"{name}: {error.strerror}")
    return ", ".join(refused)


def _set_io_idle() -> None:
    number = _SYS_IOPRIO_SET.get(platform.machine())
    if number is None:
        raise OSError(0, f"not known how on {platform.machine()}")
    # 0 is the calling thread.
    if ctypes.CDLL(None, use_errno=True).syscall(number, _IOPRIO_WHO_PROCESS, 0, _IOPRIO_IDLE):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
