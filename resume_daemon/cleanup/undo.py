"""Putting back what a clean-up has set aside, each to where it was, over nothing that is there."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resume_daemon.cleanup.apply import INDEX
from resume_daemon.cleanup.transfer import copy_verified
from resume_daemon.cleanup.values import Identity
from resume_daemon.errors import FormatError, ResumeDaemonError, UsageError
from resume_daemon.files import flush_directory, read_bounded

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True)
class PutBack:
    """What became of one thing that was set aside.

    Attributes:
        path: Where it was, and is again if ``done``.
        done: Whether it is there now.
        why: Where it is not: why. It is where it was set aside then.
    """

    path: Path
    done: bool
    why: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return the shape that ``cleanup --json`` promises."""
        return {"path": str(self.path), "done": self.done, "why": self.why}


def put_back(trash: Path, name: str) -> tuple[PutBack, ...]:
    """Put back what one clean-up has set aside; what is there already stays.

    Args:
        trash: The directory in which each clean-up has one.
        name: Its name.

    Raises:
        UsageError: There is no such clean-up.
        ResumeDaemonError: Its index cannot be read.
    """
    there = sorted(each.parent.name for each in trash.glob(f"*/{INDEX}"))
    if name not in there:
        known = ", ".join(there[-5:]) or "none"
        hint = f"There are: {known}."
        raise UsageError("take back the clean-up", name, "nothing was set aside by it", hint=hint)
    return tuple(_put_back(kept, target) for kept, target in _index(trash / name))


def _index(place: Path) -> Iterator[tuple[Path, Path]]:
    """Yield where each thing is now, and where it was."""
    try:
        files = json.loads(read_bounded(place / INDEX))["files"]
        found = [(str(each["from"]), str(each["to"])) for each in files]
    except (ValueError, KeyError, TypeError) as error:
        raise FormatError("read", place / INDEX, "it is no index of a clean-up") from error
    for target, kept in found:
        # What lies here under another name than it had was not set aside by us.
        if os.path.normpath(target) == target and target == f"/{kept}":
            yield place / kept, Path(target)


def _put_back(kept: Path, target: Path) -> PutBack:
    try:
        if not os.path.lexists(kept):
            return PutBack(target, done=os.path.lexists(target), why="it is not here any more")
        if os.path.lexists(target):
            return PutBack(target, done=False, why="something is there again")
        target.parent.mkdir(parents=True, exist_ok=True)
        if os.path.realpath(target.parent) != os.fspath(target.parent):
            return PutBack(target, done=False, why="its directory is a link now")
        _move(kept, target)
    except OSError as error:
        return PutBack(target, done=False, why=error.strerror or str(error))
    except ResumeDaemonError as error:
        return PutBack(target, done=False, why=error.reason)
    return PutBack(target, done=True)


def _move(kept: Path, target: Path) -> None:
    status = kept.lstat()
    if status.st_dev != target.parent.stat().st_dev:
        fd = os.open(kept.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            copy_verified(fd, kept.name, target, Identity.of(status))
        finally:
            os.close(fd)
        kept.unlink()
    elif kept.is_dir():
        kept.rename(target)
    else:
        # A link is never made over something that has come into being meanwhile; a rename would be.
        os.link(kept, target, follow_symlinks=False)
        kept.unlink()
    flush_directory(target.parent)
