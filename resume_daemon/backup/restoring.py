"""Put a backup back: beside first, proved byte by byte, then under its name; never over anything.

What is fetched lies in ``.restoring/`` of the target directory, which no trainer and no daemon
takes for a checkpoint, and an interrupted fetch goes on with the files that are whole there.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from blake3 import blake3

from resume_daemon.backup.pieces import read_pieces
from resume_daemon.backup.record import MANIFEST
from resume_daemon.errors import ResumeDaemonError, UsageError
from resume_daemon.files import flush_directory, open_regular, write_all
from resume_daemon.manifest import digest_of
from resume_daemon.verification import Depth, Options, verify

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from resume_daemon.backup.destinations import Destination
    from resume_daemon.backup.pace import Pace
    from resume_daemon.backup.record import Backup, BackupFile
    from resume_daemon.verification import Verification

STAGING = ".restoring"


class DamagedBackupError(ResumeDaemonError):
    """A backup is not what was backed up."""


@dataclass(frozen=True, slots=True)
class Restored:
    """What was put back.

    Attributes:
        path: Where.
        verification: What it is worth at its new place; every byte was compared before.
        fetched: Bytes that came from the destination.
    """

    path: Path
    verification: Verification
    fetched: int


def restore(backup: Backup, destination: Destination, directory: Path, pace: Pace) -> Restored:
    """Fetch a backup, prove it, and give it its name.

    Args:
        backup: The backup.
        destination: Where it is.
        directory: The run to put it into; it is there.
        pace: Asked before each read and write.

    Raises:
        UsageError: Something of that name is there.
        ResumeDaemonError: The backup is damaged, another restore is under way, or something cannot
            be read or written. The target is as it was.
    """
    path = directory / backup.checkpoint
    _check_free(backup, directory)
    _check_room(backup, directory)
    with _staging(directory) as staging, _system_errors(directory):
        _check_manifest(backup, destination)
        root = staging if backup.is_file else staging / backup.checkpoint
        root.mkdir(exist_ok=True)
        fetched = sum(_fetch(backup, each, destination, root, pace) for each in backup.files)
        for each in backup.files:
            # Once more from the disk: what was written may not be what arrived.
            if _digest(root / each.name, each, pace) != each.digest:
                raise ResumeDaemonError(
                    "restore", root / each.name, "the disk gives back other bytes than were written"
                )
        for name, mtime in sorted(backup.folders.items(), reverse=True):
            os.utime(root / name, ns=(mtime, mtime))
            flush_directory(root / name)
        _check_free(backup, directory)
        _put(backup, root, directory)
        flush_directory(directory)
    # Where it now lies: some layouts are told by what lies beside. Every byte was compared above.
    found = verify(path, boundary=directory, options=Options(depth=Depth.QUICK))
    return Restored(path, found, fetched)


def _check_free(backup: Backup, directory: Path) -> None:
    names = [file.name for file in backup.files] if backup.is_file else [backup.checkpoint]
    for name in names:
        if os.path.lexists(directory / name):
            raise UsageError(
                "restore",
                directory / name,
                "something of that name is there, and nothing is ever put over it",
                hint="Move it away, or name another directory with --to.",
            )


def _check_room(backup: Backup, directory: Path) -> None:
    with _system_errors(directory):
        free = os.statvfs(directory)
    room = free.f_bavail * free.f_frsize + _size_below(directory / STAGING)
    if backup.size > room:
        reason = f"{backup.id} has {backup.size} bytes, and only {room} are free"
        raise ResumeDaemonError("restore to", directory, reason, hint="Make room.")


def _size_below(directory: Path) -> int:
    """Return the bytes that an interrupted restore has fetched."""
    found = 0
    for folder, _, names in os.walk(directory):
        for name in names:
            with suppress(OSError):
                found += os.lstat(os.path.join(folder, name)).st_size  # noqa: PTH118 - as os.walk gives them
    return found


def _check_manifest(backup: Backup, destination: Destination) -> None:
    content = destination.read(backup.id + MANIFEST, 1 << 30)
    if digest_of(content) != backup.manifest:
        raise _damaged(backup, "its manifest is not the one that it was verified by")


@contextmanager
def _staging(directory: Path) -> Iterator[Path]:
    """Yield the directory to fetch into, for one restore at a time; it goes when it is empty."""
    staging = directory / STAGING
    with _system_errors(directory):
        staging.mkdir(exist_ok=True)
        fd = os.open(staging, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in {errno.EWOULDBLOCK, errno.EACCES}:
                raise
            reason = "another restore is under way there"
            raise ResumeDaemonError("restore to", directory, reason, hint="Wait for it.") from error
        try:
            yield staging
        except (DamagedBackupError, OSError):
            # It will not become whole, or it takes the room that the trainer needs.
            shutil.rmtree(staging, ignore_errors=True)
            raise
        shutil.rmtree(staging)
    finally:
        os.close(fd)


def _fetch(
    backup: Backup, file: BackupFile, destination: Destination, root: Path, pace: Pace
) -> int:
    """Fetch a file, unless it is there from before an interruption; return the bytes fetched."""
    target = root / file.name
    if target.is_file() and target.stat().st_size == file.size:
        with suppress(ResumeDaemonError):
            if _digest(target, file, pace) == file.digest:
                return 0
    target.parent.mkdir(parents=True, exist_ok=True)
    name = f"{backup.id}/{file.name}"
    if destination.size_of(name) != file.size:
        raise _damaged(backup, f"{file.name} is missing or has another size")
    whole = blake3()
    fd = os.open(
        target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
    )
    try:
        for piece in destination.pieces(name, file.size, pace):
            whole.update(piece)
            pace.take(len(piece))
            write_all(fd, piece)
            pace.progress(len(piece))
        if whole.hexdigest() != file.digest:
            raise _damaged(backup, f"the bytes of {file.name} are not those that were backed up")
        os.fchmod(fd, file.mode & 0o777)
        os.utime(fd, ns=(file.mtime_ns, file.mtime_ns))
        os.fsync(fd)
        with suppress(OSError):
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(fd)
    return file.size


def _digest(path: Path, file: BackupFile, pace: Pace) -> str:
    whole = blake3()
    with open_regular(path) as fd:
        for piece in read_pieces(fd, path, file.size, pace):
            whole.update(piece)
    return whole.hexdigest()


def _put(backup: Backup, root: Path, directory: Path) -> None:
    """Give what was fetched its name."""
    if not backup.is_file:
        # Over a directory that has anything in it, this fails.
        root.rename(directory / backup.checkpoint)
        if (mtime := backup.folders.get(".")) is not None:
            # Some file systems touch a directory that gets another parent.
            os.utime(directory / backup.checkpoint, ns=(mtime, mtime))
        return
    # The checkpoint's own file last: with it, the others are looked for. A link is never put over
    # anything, as a rename would be.
    for file in sorted(backup.files, key=lambda each: each.name == backup.checkpoint):
        (directory / file.name).parent.mkdir(parents=True, exist_ok=True)
        os.link(root / file.name, directory / file.name, follow_symlinks=False)


def _damaged(backup: Backup, why: str) -> DamagedBackupError:
    hint = "Nothing was put back. `resume-daemon backup RUN --verify` looks at all backups."
    return DamagedBackupError("restore", backup.id, f"the backup is damaged: {why}", hint=hint)


@contextmanager
def _system_errors(directory: Path) -> Iterator[None]:
    """Turn what the system says into what a person can use."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            hint = "Make room. Nothing of it was left."
            raise ResumeDaemonError(
                "restore to", directory, "the disk is full", hint=hint
            ) from error
        hint = "Give this user write permission." if error.errno == errno.EACCES else ""
        raise ResumeDaemonError("restore to", directory, reason, hint=hint) from error
