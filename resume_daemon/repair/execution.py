"""Carrying out one step, or its inverse; each may be done again after an interruption."""

from __future__ import annotations

import os
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from resume_daemon.errors import ResumeDaemonError, VanishedError
from resume_daemon.files import flush_directory, make_directories, write_all
from resume_daemon.repair.listing_digest import listing_digest
from resume_daemon.repair.store import digest_at

if TYPE_CHECKING:
    from collections.abc import Callable

    from resume_daemon.repair.record import Kept, Original, Repair
    from resume_daemon.repair.store import RepairStore


class Found(StrEnum):
    """What is there, of a step."""

    BEFORE = "before"
    """What it found."""
    AFTER = "after"
    """What it leaves."""
    OTHER = "other"
    """Neither: somebody else changed it."""


class Hands:
    """Changes files for one repair.

    Args:
        repair: The repair.
        store: Where its contents are.
        after: Told of each change of the file system when it was made.
    """

    def __init__(
        self, repair: Repair, store: RepairStore, after: Callable[[str], None] = lambda _: None
    ) -> None:
        self._repair = repair
        self._store = store
        self._after = after

    def find(self, step: Kept) -> Found:
        """Return what is there of a step.

        Raises:
            ResumeDaemonError: It cannot be looked at.
        """
        if step.source is None:
            there = digest_at(step.place)
            if there == step.after:
                return Found.AFTER
            return Found.BEFORE if there == step.before else Found.OTHER
        source, target = _listing(Path(step.source)), _listing(step.place)
        if (source, target) == (step.before, None):
            return Found.BEFORE
        return Found.AFTER if (source, target) == (None, step.after) else Found.OTHER

    def stage(self, step: Kept) -> None:
        """Write what a step will put in place beside it: what is left of it needs no room.

        Raises:
            OSError: It cannot be written.
        """
        if step.source is None:
            content = self._store.content(self._repair, step.after)
            mode = step.original.mode if step.original is not None else 0o644
            self._beside(step, content, mode, step.original, times=False)

    def do(self, step: Kept) -> None:
        """Carry out a step that was staged.

        Raises:
            OSError: It cannot be carried out.
        """
        if step.source is not None:
            self._move(Path(step.source), step.place)
        else:
            self._put(step)

    def undo(self, step: Kept) -> None:
        """Carry out the inverse of a step that was carried out.

        Raises:
            OSError: It cannot be carried out.
        """
        if step.source is not None:
            self._move(step.place, Path(step.source))
        elif step.before is None:
            step.place.unlink(missing_ok=True)
            self._after("removed")
            flush_directory(step.place.parent)
        else:
            content = self._store.content(self._repair, step.before)
            original = step.original
            mode = original.mode if original is not None else 0o644
            self._beside(step, content, mode, original, times=True)
            self._put(step)

    def tidy(self) -> None:
        """Remove what was staged, and give directories the times that they had.

        Raises:
            OSError: It cannot be done.
        """
        self.remove_staged()
        for folder, mtime_ns in self._repair.folders.items():
            with suppress(FileNotFoundError, NotADirectoryError):
                status = Path(folder).stat()
                os.utime(folder, ns=(status.st_atime_ns, mtime_ns))
                self._after("time")

    def remove_staged(self) -> None:
        """Remove what was staged and not put in place.

        Raises:
            OSError: It cannot be removed.
        """
        for step in self._repair.steps:
            if not step.is_move:
                with suppress(NotADirectoryError):
                    self._temporary(step).unlink(missing_ok=True)

    def _temporary(self, step: Kept) -> Path:
        return step.place.with_name(f".{step.place.name[:200]}.{self._repair.id}.repair")

    def _beside(
        self, step: Kept, content: bytes, mode: int, like: Original | None, *, times: bool
    ) -> None:
        temporary = self._temporary(step)
        temporary.unlink(missing_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        fd = os.open(temporary, flags, 0o600)
        self._after("opened")
        try:
            write_all(fd, content)
            # A file that a trainer of another user cannot write would be a trap.
            own = like is None or (like.uid, like.gid) == (os.geteuid(), os.getegid())
            if like is not None and not own and os.geteuid() == 0:
                os.fchown(fd, like.uid, like.gid)
            os.fchmod(fd, mode)
            if times and like is not None:
                os.utime(fd, ns=(like.atime_ns, like.mtime_ns))
            os.fsync(fd)
        finally:
            os.close(fd)
        self._after("staged")

    def _put(self, step: Kept) -> None:
        self._temporary(step).replace(step.place)
        self._after("replaced")
        flush_directory(step.place.parent)

    def _move(self, source: Path, target: Path) -> None:
        make_directories(target.parent)
        # rename(2) would replace an empty directory.
        if os.path.lexists(target):
            raise FileExistsError(17, "something is there already", str(target))
        source.rename(target)
        self._after("moved")
        for folder in (target.parent, source.parent):
            flush_directory(folder)


def _listing(path: Path) -> str | None:
    try:
        return listing_digest(path)
    except VanishedError:
        return None
    except ResumeDaemonError:
        return "unreadable"
