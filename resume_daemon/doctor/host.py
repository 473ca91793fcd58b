"""What is asked of the machine, as one value, so that another machine can be put in its place."""

from __future__ import annotations

import os
import resource
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


@dataclass(frozen=True, slots=True)
class Host:
    """The machine as an examination sees it.

    Attributes:
        environ: The environment that a trainer started from here would inherit.
        home: The user's home directory.
        proc: The process file system.
        now: Seconds since the epoch.
        uid: The user that asks.
        statvfs: As ``os.statvfs``.
        access: As ``os.access``.
        open_files: The soft limit of open files, or None where there is none.
    """

    environ: Mapping[str, str]
    home: Path
    proc: Path
    now: float
    uid: int
    statvfs: Callable[[Path], os.statvfs_result]
    access: Callable[[Path, int], bool]
    open_files: int | None

    @classmethod
    def here(cls) -> Host:
        """Return this machine, now."""
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return cls(
            environ=dict(os.environ),
            home=Path(os.path.expanduser("~")),  # noqa: PTH111 - that of Path may raise
            proc=Path("/proc"),
            now=time.time(),
            uid=os.geteuid(),
            statvfs=os.statvfs,
            access=os.access,
            open_files=None if soft == resource.RLIM_INFINITY else soft,
        )
