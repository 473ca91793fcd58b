"""Which files somebody has open now, as far as this user may look."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_DESCRIPTORS = 1_000_000
"""Descriptors of all processes together that are looked at."""


def open_files(proc: Path = Path("/proc")) -> tuple[frozenset[tuple[int, int]], int]:
    """Return device and inode of every open file, and how many processes were closed to us.

    Processes on other machines, and of other users, cannot be looked into: age has to tell there.

    Args:
        proc: The process file system.
    """
    found: set[tuple[int, int]] = set()
    closed = seen = 0
    for process in _inside(proc):
        if not process.name.isdecimal():
            continue
        try:
            descriptors = list((process / "fd").iterdir())
        except PermissionError:
            closed += 1
            continue
        except OSError:
            continue  # It has ended.
        for descriptor in descriptors:
            seen += 1
            if seen > MAX_DESCRIPTORS:
                return frozenset(found), closed + 1
            try:
                status = descriptor.stat()
            except OSError:
                continue
            found.add((status.st_dev, status.st_ino))
    return frozenset(found), closed


def _inside(proc: Path) -> Iterator[Path]:
    try:
        yield from proc.iterdir()
    except OSError:
        return  # No such file system here, as on macOS: age has to tell.
