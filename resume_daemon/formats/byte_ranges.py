"""What every reader of a file's parts needs: an exact range, and a word for a blank file."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from resume_daemon.errors import ChangedError
from resume_daemon.files import read_error

if TYPE_CHECKING:
    from pathlib import Path

HEAD = 4096
"""Bytes at the beginning of a file by which a blank file is told (one page)."""


def read_range(fd: int, begin: int, size: int, path: Path) -> bytes:
    """Return exactly ``size`` bytes from offset ``begin``; the caller has bounded ``size``.

    Raises:
        ChangedError: The file ends sooner, although it was longer a moment ago.
        ResumeDaemonError: It cannot be read.
    """
    pieces: list[bytes] = []
    try:
        while size > 0 and (piece := os.pread(fd, size, begin)):
            pieces.append(piece)
            begin += len(piece)
            size -= len(piece)
    except OSError as error:
        raise read_error(error, path) from error
    if size > 0:
        raise ChangedError("read", path, "it became shorter while it was read")
    return b"".join(pieces)


def blank_reason(head: bytes) -> str | None:
    """Return why a file that begins with ``head`` holds nothing, or None where it may.

    A block of zeros is what a file system shows after a crash for data that was allocated and
    never written (delayed allocation of ext4 and XFS).
    """
    if not head:
        return "it is empty"
    if not head.strip(b"\0"):
        return (
            "its first bytes are all zero: it was never written to the end, "
            "as after a crash or on a full disk"
        )
    return None
