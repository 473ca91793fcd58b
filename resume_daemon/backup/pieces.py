"""The bytes of a file of this machine, piece by piece, with the manners of a verification."""

from __future__ import annotations

import errno
import os
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

from resume_daemon.errors import ChangedError, ResumeDaemonError
from resume_daemon.files import open_regular, read_error
from resume_daemon.reading.page_cache import PageCacheKeeper

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from resume_daemon.backup.pace import Pace
    from resume_daemon.manifest import ManifestFile

PIECE = 2 * 1024 * 1024
"""Bytes of one read, as a verification reads (``reading.scan.ReadOptions``)."""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file of a checkpoint as it was verified; whatever it yields is of that file.

    Attributes:
        path: Where its bytes are, with links resolved.
        file: What it was when it was verified.
        pace: Asked before each read.
    """

    path: Path
    file: ManifestFile
    pace: Pace

    def pieces(self, piece: int = PIECE) -> Iterator[bytes]:
        """Yield all its bytes, ``piece`` of them at a time; the last may be shorter.

        Raises:
            VanishedError: It is not there any more.
            ChangedError: It is not what was verified.
            CancelledError: The work should end.
            ResumeDaemonError: It cannot be read.
        """
        with open_regular(self.path) as fd:
            self.check(fd)
            for content in read_pieces(fd, self.path, self.file.size, self.pace, piece):
                self.pace.progress(len(content))
                yield content
            self.check(fd)

    def check(self, fd: int) -> None:
        """Raise ``ChangedError`` unless an open file is the one that was verified."""
        status = os.fstat(fd)
        if (status.st_size, status.st_mtime_ns, status.st_ino) != (
            self.file.size,
            self.file.mtime_ns,
            self.file.inode,
        ):
            raise ChangedError("back up", self.path, "it was written to since it was verified")


def read_pieces(fd: int, path: Path, size: int, pace: Pace, piece: int = PIECE) -> Iterator[bytes]:
    """Yield ``size`` bytes of an open file; the page cache is left as it was found.

    Raises:
        ChangedError: It has fewer bytes.
        CancelledError: The work should end.
        ResumeDaemonError: The disk failed.
    """
    keeper = PageCacheKeeper(fd, 0, size) if pace.keep_page_cache and size else None
    with keeper or nullcontext():
        for begin in range(0, size, piece):
            end = min(begin + piece, size)
            parts = []
            for offset in range(begin, end, PIECE):
                until = min(offset + PIECE, end)
                pace.take(until - offset)
                if keeper:
                    keeper.about_to_read(until)
                parts.append(_read(fd, path, offset, until - offset))
                if keeper:
                    keeper.done(until)
            yield parts[0] if len(parts) == 1 else b"".join(parts)


def _read(fd: int, path: Path, offset: int, length: int) -> bytes:
    parts = []
    try:
        while length > 0:
            if not (part := os.pread(fd, length, offset)):
                raise ChangedError("read", path, f"it was cut short to {offset} bytes meanwhile")
            parts.append(part)
            offset += len(part)
            length -= len(part)
    except OSError as error:
        if error.errno == errno.EIO:
            raise ResumeDaemonError(
                "read",
                path,
                f"the disk failed at offset {offset}",
                hint="Look at the kernel's log, and do not trust this copy of the file.",
            ) from error
        raise read_error(error, path) from error
    return parts[0] if len(parts) == 1 else b"".join(parts)
