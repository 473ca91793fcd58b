"""Copying a file to another file system so that the original may go: read back and compared."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from blake3 import blake3

from resume_daemon.cleanup.values import Identity
from resume_daemon.errors import ChangedError, ResumeDaemonError
from resume_daemon.files import flush_directory, write_all

if TYPE_CHECKING:
    from pathlib import Path

_PIECE = 1 << 20
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def copy_verified(parent: int, name: str, where: Path, expected: Identity) -> None:
    """Copy a file, flush the copy, read it back, and give it the original's mode and times.

    Args:
        parent: The open directory that it lies in.
        name: Its name there.
        where: The copy; nothing may be there.
        expected: Which file it is.

    Raises:
        ChangedError: It is another file, or was written to meanwhile; there is no copy then.
        ResumeDaemonError: What was read back is not what was written; there is no copy then.
        OSError: It could not be read or written; there is no copy then.
    """
    source = os.open(name, _READ, dir_fd=parent)
    try:
        status = os.fstat(source)
        _expect(status, expected, where)
        target = os.open(where, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            digest = blake3()
            while piece := os.read(source, _PIECE):
                digest.update(piece)
                write_all(target, piece)
            os.fsync(target)
            _expect(os.fstat(source), expected, where)
            _compare(target, digest.hexdigest(), where)
            os.fchmod(target, status.st_mode & 0o7777)
            os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))
            os.fsync(target)
        except BaseException:
            where.unlink(missing_ok=True)
            raise
        finally:
            os.close(target)
    finally:
        os.close(source)
    flush_directory(where.parent)


def _expect(status: os.stat_result, expected: Identity, where: Path) -> None:
    if Identity.of(status) != expected:
        raise ChangedError("copy to", where, "the file changed while it was copied")


def _compare(fd: int, expected: str, where: Path) -> None:
    os.lseek(fd, 0, os.SEEK_SET)
    digest = blake3()
    while piece := os.read(fd, _PIECE):
        digest.update(piece)
    if digest.hexdigest() != expected:
        raise ResumeDaemonError("copy to", where, "what was read back is something else")
