"""The kernel's limits, read from ``/proc``."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_MAX_PROCESSES = 4096
_MAX_DESCRIPTORS = 1024
_MAX_BYTES = 1 << 20


def inotify_limits(proc: Path) -> tuple[int | None, int | None]:
    """Return how many watches and instances a user may have; None where that is not told.

    Of the machine's and the user namespace's limits the smaller one holds.
    """
    found = []
    for name in ("watches", "instances"):
        machine = _number(proc / "sys" / "fs" / "inotify" / f"max_user_{name}")
        space = _number(proc / "sys" / "user" / f"max_inotify_{name}")
        found.append(min((x for x in (machine, space) if x is not None), default=None))
    return found[0], found[1]


def inotify_use(proc: Path, uid: int) -> tuple[int, int]:
    """Return how many watches and instances a user's processes hold, as far as we may look.

    A descriptor that two processes share after a fork is counted twice.
    """
    watches = instances = 0
    for process in _processes(proc, uid):
        for descriptor in _entries(process / "fd")[:_MAX_DESCRIPTORS]:
            with suppress(OSError):
                if os.readlink(descriptor) != "anon_inode:inotify":  # noqa: PTH115 - a str is enough
                    continue
                instances += 1
                with (process / "fdinfo" / descriptor.name).open("rb") as file:
                    watches += file.read(_MAX_BYTES).count(b"\ninotify ")
    return watches, instances


def _processes(proc: Path, uid: int) -> Iterator[Path]:
    numbers = [path for path in _entries(proc) if path.name.isdecimal()]
    for process in numbers[-_MAX_PROCESSES:]:
        with suppress(OSError):
            if process.stat().st_uid == uid:
                yield process


def _entries(directory: Path) -> list[Path]:
    try:
        return list(directory.iterdir())
    except OSError:
        return []


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
