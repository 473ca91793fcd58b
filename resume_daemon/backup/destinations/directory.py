"""A directory of this machine, or of a file system that is mounted: reflink, hard link or copy."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import stat
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from resume_daemon.backup.pieces import SourceFile, read_pieces
from resume_daemon.backup.sent import FullError, How, Sent
from resume_daemon.errors import ResumeDaemonError
from resume_daemon.files import (
    flush_directory,
    open_regular,
    read_bounded,
    read_error,
    write_all,
    write_atomic,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from resume_daemon.backup.pace import Pace

_FICLONE = 0x40049409
"""``FICLONE`` of ``linux/fs.h`` (``ioctl_ficlone(2)``): btrfs, XFS, bcachefs, ZFS, NFS 4.2, ..."""

_PART = ".part"
"""What the name of a file ends with while it is written."""

_LOOK_SECONDS = 0.1
"""How long a wait for the lock goes on before it looks again."""

_FULL = {errno.ENOSPC, errno.EDQUOT}


class DirectoryDestination:
    """A run's directory below one that the user made.

    That one is not made here: below the mount point of a disk that is not mounted, backups would
    fill the wrong disk in silence.

    Args:
        root: The user's directory.
        folder: The run's directory in it.
        hard_links: Whether a file may be linked where it cannot be cloned.
    """

    def __init__(self, root: Path, folder: str, *, hard_links: bool) -> None:
        self.label = str(root)
        self._root = root
        self._folder = root / folder
        self._hard_links = hard_links
        self._clones = True

    def names(self) -> list[str]:
        """Return what is there."""
        self._check_root()
        try:
            with os.scandir(self._folder) as entries:
                return sorted(entry.name for entry in entries)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise read_error(error, self._folder) from error

    def size_of(self, name: str) -> int | None:
        """Return the bytes of a regular file."""
        try:
            status = os.lstat(self._folder / name)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise read_error(error, self._folder / name) from error
        return status.st_size if stat.S_ISREG(status.st_mode) else None

    def send(self, source: SourceFile, name: str) -> Sent:
        """Clone, link or copy a file, and flush it; it then has its name."""
        self._check_root()
        target = self._folder / name
        part = target.with_name(target.name + _PART)
        with _told("write", target), self._alone(source.pace):
            target.parent.mkdir(parents=True, exist_ok=True)
            part.unlink(missing_ok=True)
            try:
                sent = self._cloned(source, part) or self._linked(source, part)
                if sent is None:
                    sent = self._copied(source, part)
                part.replace(target)
            except BaseException:
                part.unlink(missing_ok=True)
                raise
            flush_directory(target.parent)
        return sent

    def pieces(self, name: str, size: int, pace: Pace) -> Iterator[bytes]:
        """Yield a file's bytes as the disk has them, where the page cache lets go of them."""
        path = self._folder / name
        with open_regular(path) as fd:
            yield from read_pieces(fd, path, min(size, os.fstat(fd).st_size), pace)

    def read(self, name: str, limit: int) -> bytes:
        """Return a small file."""
        return read_bounded(self._folder / name, limit)

    def write(self, name: str, content: bytes) -> None:
        """Write a small file atomically."""
        self._check_root()
        with _told("write", self._folder / name):
            self._folder.mkdir(exist_ok=True)
            write_atomic(self._folder / name, content)

    def remove(self, name: str) -> None:
        """Remove a file, flushed, so that what is removed next cannot go without it."""
        with _told("remove", self._folder / name):
            (self._folder / name).unlink(missing_ok=True)
            if self._folder.is_dir():
                flush_directory(self._folder)

    def remove_folder(self, name: str) -> None:
        """Remove a directory."""
        with _told("remove", self._folder / name), suppress(FileNotFoundError):
            shutil.rmtree(self._folder / name)

    def _check_root(self) -> None:
        if not os.path.isdir(self._root):  # noqa: PTH112 - that of Path may raise
            raise ResumeDaemonError(
                "use the backup destination",
                self._root,
                "there is no such directory",
                hint="Make it, or mount the disk that it is on: it is not made, since below the "
                "mount point of a disk that is not there backups would fill another one.",
            )

    @contextmanager
    def _alone(self, pace: Pace) -> Iterator[None]:
        """Write while nobody else writes into the run's directory: a daemon and a person may both.

        Where the file system has no locks, that is left to chance; what is not right is found when
        it is read back.
        """
        self._folder.mkdir(exist_ok=True)
        fd = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            while not _locked(fd):
                pace.take(0)
                time.sleep(_LOOK_SECONDS)
            yield
        finally:
            os.close(fd)

    def _cloned(self, source: SourceFile, part: Path) -> Sent | None:
        """Clone a file; None where the file system cannot."""
        if not self._clones:
            return None
        with open_regular(source.path) as fd, _made(part) as new:
            source.check(fd)
            try:
                fcntl.ioctl(new, _FICLONE, fd)
            except OSError:
                # EOPNOTSUPP, EXDEV, EINVAL, ENOTTY: whatever it is, a copy does not need it.
                self._clones = False
                return None
            source.check(fd)
            _finish(new, source)
        return Sent(How.REFLINK, 0)

    def _linked(self, source: SourceFile, part: Path) -> Sent | None:
        """Link a file, where that was asked for; None where it cannot be."""
        if not self._hard_links:
            return None
        part.unlink(missing_ok=True)
        try:
            os.link(source.path, part, follow_symlinks=False)
        except OSError as error:
            if error.errno in {errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP}:
                return None
            raise read_error(error, source.path) from error
        with open_regular(part) as fd:
            source.check(fd)
        return Sent(How.HARD_LINK, 0)

    def _copied(self, source: SourceFile, part: Path) -> Sent:
        part.unlink(missing_ok=True)
        free = os.statvfs(part.parent)
        room = free.f_bavail * free.f_frsize
        if source.file.size > room:
            raise FullError(
                "back up to",
                part.parent,
                f"{source.file.name} has {source.file.size} bytes, and only {room} are free",
                hint="Make room, or keep fewer backups.",
            )
        with _made(part) as fd:
            for content in source.pieces():
                # Writing works the disk as reading does.
                source.pace.take(len(content))
                write_all(fd, content)
            _finish(fd, source)
        return Sent(How.COPY, source.file.size)


def _locked(fd: int) -> bool:
    """Return whether the lock could be taken, or there are none."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in {errno.EWOULDBLOCK, errno.EACCES}
    return True


@contextmanager
def _made(part: Path) -> Iterator[int]:
    """Yield a new file, open for writing."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(part, flags, 0o600)
    try:
        yield fd
    finally:
        os.close(fd)


def _finish(fd: int, source: SourceFile) -> None:
    """Give a copy the times and the mode of its source, and let it go to the disk whole."""
    with open_regular(source.path) as original:
        mode = stat.S_IMODE(os.fstat(original).st_mode)
    os.fchmod(fd, mode)
    os.utime(fd, ns=(source.file.mtime_ns, source.file.mtime_ns))
    os.fsync(fd)
    with suppress(OSError):
        # So that it is read back from the disk, and nobody's pages had to go for it.
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)


@contextmanager
def _told(operation: str, path: Path) -> Iterator[None]:
    """Turn what the system says into what a person can use."""
    try:
        yield
    except ResumeDaemonError:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in _FULL:
            hint = "Make room, or keep fewer backups."
            raise FullError(operation, path, "the disk is full", hint=hint) from error
        hint = "Give this user write permission." if error.errno == errno.EACCES else ""
        raise ResumeDaemonError(operation, path, reason, hint=hint) from error
