"""The only ways in which this program opens, lists and writes files.

Reads never block on a FIFO or a device and never follow a link out of the run. Writes are atomic
and flushed: a reader sees the old content or the new, and so does the next start after a crash.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import stat
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resume_daemon.errors import (
    BeyondBoundsError,
    FormatError,
    ResumeDaemonError,
    VanishedError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

SMALL_FILE_LIMIT = 256 * 1024 * 1024
"""Bytes above which a whole read is refused (trainer states of long runs reach 50 MB)."""

_GONE = {errno.ENOENT, errno.ENOTDIR, errno.ESTALE}


@contextmanager
def open_regular(path: Path) -> Iterator[int]:
    """Open a regular file for reading and yield its descriptor.

    The last part of ``path`` may not be a symbolic link: resolve it first, where it may be one.

    Raises:
        VanishedError: The file is not there (any more).
        FormatError: It is a link, FIFO, socket, device or directory.
        ResumeDaemonError: It cannot be read.
    """
    try:
        # O_NONBLOCK: opening a FIFO for reading would otherwise wait for a writer for ever.
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise read_error(error, path) from error
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise FormatError("read", path, "it is not a regular file")
        yield fd
    finally:
        os.close(fd)


def read_error(error: OSError, path: Path) -> ResumeDaemonError:
    """Return what an ``OSError`` of a read means: gone, a link, or unreadable."""
    if error.errno in _GONE:
        return VanishedError("read", path, "it is not there any more")
    if error.errno == errno.ELOOP:
        return FormatError("read", path, "it is a symbolic link, which is not followed here")
    if error.errno == errno.ENXIO:
        return FormatError("read", path, "it is not a regular file")
    reason = error.strerror or str(error)
    hint = "Give the daemon's user read permission." if error.errno == errno.EACCES else ""
    return ResumeDaemonError("read", path, reason, hint=hint)


def read_bounded(path: Path, limit: int = SMALL_FILE_LIMIT) -> bytes:
    """Return the content of a regular file of at most ``limit`` bytes.

    Raises:
        BeyondBoundsError: It is larger than ``limit``.
        FormatError: It is no regular file.
        VanishedError: It is not there.
        ResumeDaemonError: It cannot be read.
    """
    with open_regular(path) as fd:
        if (size := os.fstat(fd).st_size) > limit:
            reason = f"it has {size} bytes, more than {limit} are not read"
            raise BeyondBoundsError("read", path, reason)
        pieces: list[bytes] = []
        left = limit + 1
        # All at once: one piece is not copied when the pieces are joined.
        expected = size + 1
        try:
            while left > 0 and (piece := os.read(fd, min(left, max(expected, 1 << 16)))):
                pieces.append(piece)
                left -= len(piece)
                expected -= len(piece)
        except OSError as error:
            raise read_error(error, path) from error
    if left <= 0:
        raise BeyondBoundsError("read", path, f"it grew past {limit} bytes while it was read")
    return b"".join(pieces)


def write_atomic(path: Path, content: bytes, *, mode: int = 0o644) -> None:
    """Write to a temporary name beside ``path``, flush it, and rename it over ``path``."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        try:
            write_all(fd, content)
            os.fsync(fd)
        finally:
            os.close(fd)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    flush_directory(path.parent)


def write_all(fd: int, content: bytes) -> None:
    """Write every byte of ``content``; ``os.write`` alone may write fewer."""
    view = memoryview(content)
    while view:
        view = view[os.write(fd, view) :]


def flush_directory(path: Path) -> None:
    """Flush a directory, so that a rename in it survives a power cut."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    except OSError as error:
        # Some FUSE and CIFS mounts refuse to flush a directory; they have no better way either.
        if error.errno not in {errno.EINVAL, errno.ENOTSUP, errno.EBADF}:
            raise
    finally:
        os.close(fd)


def make_directories(path: Path) -> None:
    """Make a directory and those above it that are missing, so that they survive a power cut."""
    missing: list[Path] = []
    place = path
    while not place.exists():
        missing.append(place)
        place = place.parent
    for each in reversed(missing):
        each.mkdir(exist_ok=True)
        flush_directory(each.parent)
    path.mkdir(exist_ok=True)


def canonical_json(value: Any) -> bytes:
    """Return the one encoding of a value that is written and digested (UTF-8, sorted, one line).

    What UTF-8 cannot say, such as a file name of other bytes, is escaped as JSON escapes it, so
    that it is read back as it was.
    """
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode(errors="backslashreplace")


def is_inside(path: Path, root: Path) -> bool:
    """Return whether ``path``, with every link resolved, is ``root`` or lies below it."""
    try:
        real = Path(os.path.realpath(path))
    except OSError:
        return False
    return real.is_relative_to(os.path.realpath(root))
