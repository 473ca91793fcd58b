"""Taking away what a plan names, and only what it names.

Every directory on the way is opened from its parent, without following a link, so that nothing
outside of a root can be reached however the tree changes meanwhile. What is there is looked at once
more right before: another file under the same name stays. What is set aside is looked at again
where it has arrived, and comes back if it is not what was meant.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING

from resume_daemon.cleanup.transfer import copy_verified
from resume_daemon.cleanup.values import Action, EntryKind, Identity, Outcome
from resume_daemon.errors import ResumeDaemonError
from resume_daemon.files import canonical_json, write_atomic
from resume_daemon.ledger.record import rfc3339

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime
    from pathlib import Path

    from resume_daemon.cleanup.values import Removal, Tree

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
INDEX = "index.json"
"""In each trash: where everything in it was."""


class _Changed(Exception):  # noqa: N818 - no error: the outcome says it
    """What was planned for is not there any more."""


def apply(
    removals: Sequence[Removal], trash: Path, *, now: datetime
) -> tuple[tuple[Outcome, ...], Path | None]:
    """Carry out a plan; return what became of each removal, and where things were set aside.

    What is deleted goes first: where the disk is full, setting aside needs the room. Directories
    that are to be empty go last.

    Args:
        removals: In the order of the plan.
        trash: The directory in which one is made for what is set aside now.
        now: The time that it is named after.
    """
    outcomes: dict[Path, Outcome] = {}
    for each in removals:
        if each.action is Action.DELETE and each.entry.kind is EntryKind.FILE:
            outcomes[each.path] = _carry_out(each, None)
    aside = [each for each in removals if each.action is Action.SET_ASIDE]
    place: Path | None = None
    try:
        place = _prepare(trash, aside, now) if aside else None
    except ResumeDaemonError as error:
        why = f"{error.reason}: {error.path}"
        outcomes |= {each.path: Outcome(each, done=False, why=why, failed=True) for each in aside}
    for each in removals:
        if each.path not in outcomes:
            outcomes[each.path] = _carry_out(each, place)
    return tuple(outcomes[each.path] for each in removals), place


def _prepare(trash: Path, aside: Sequence[Removal], now: datetime) -> Path:
    """Make the directory and write down, before anything moves, where it is from."""
    place = trash / f"{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"
    index = {
        "schema": 1,
        "at": rfc3339(now),
        "files": [
            {"from": os.fspath(each.path), "to": os.fspath(_kept_name(each)), "why": each.why}
            for each in aside
        ],
    }
    try:
        place.mkdir(parents=True)
        write_atomic(place / INDEX, canonical_json(index) + b"\n")
    except OSError as error:
        reason = f"it cannot be set aside: {error.strerror or error}"
        raise ResumeDaemonError("set files aside in", place, reason) from error
    return place


def _kept_name(removal: Removal) -> str:
    """Return the path in the trash: that of the whole file system, so that no two are the same."""
    return os.fspath(removal.path).lstrip("/")


def _carry_out(removal: Removal, place: Path | None) -> Outcome:
    try:
        with _parent(removal.tree, removal.entry.parts) as parent:
            if removal.action is Action.DELETE:
                _delete(parent, removal)
                return Outcome(removal, done=True, why="")
            if place is None:
                raise ValueError("there is no place to set it aside in")
            where = place / _kept_name(removal)
            _set_aside(parent, removal, where)
            return Outcome(removal, done=True, why=os.fspath(where))
    except _Changed as change:
        return Outcome(removal, done=False, why=str(change))
    except NotADirectoryError:
        # What O_DIRECTORY and O_NOFOLLOW together answer to a link, too.
        return Outcome(removal, done=False, why="a directory on the way is something else now")
    except FileNotFoundError:
        return Outcome(removal, done=False, why="it is not there any more")
    except (OSError, ResumeDaemonError) as error:
        reason = error.reason if isinstance(error, ResumeDaemonError) else error.strerror
        return Outcome(removal, done=False, why=reason or str(error), failed=True)


@contextmanager
def _parent(tree: Tree, parts: tuple[str, ...]) -> Iterator[int]:
    """Open the directory that an entry lies in, one step at a time."""
    fd = os.open(tree.root, _DIRECTORY)
    try:
        root = os.fstat(fd)
        if (root.st_dev, root.st_ino) != (tree.identity.device, tree.identity.inode):
            raise _Changed("the root is another directory now")
        for part in parts[:-1]:
            inner = os.open(part, _DIRECTORY, dir_fd=fd)
            os.close(fd)
            fd = inner
        yield fd
    finally:
        os.close(fd)


def _check(parent: int, removal: Removal) -> None:
    """Look at what is there now.

    Raises:
        _Changed: It is not what the plan was made for.
    """
    name = removal.entry.parts[-1]
    status = os.stat(name, dir_fd=parent, follow_symlinks=False)
    before = removal.entry.identity
    if removal.entry.kind is EntryKind.DIRECTORY:
        same = stat.S_ISDIR(status.st_mode) and (status.st_dev, status.st_ino) == (
            before.device,
            before.inode,
        )
        if removal.action is Action.SET_ASIDE:
            same = same and status.st_mtime_ns == before.mtime_ns
    else:
        same = stat.S_ISREG(status.st_mode) and Identity.of(status) == before
    if not same:
        raise _Changed("it has changed since it was looked at")


def _delete(parent: int, removal: Removal) -> None:
    _check(parent, removal)
    name = removal.entry.parts[-1]
    if removal.entry.kind is EntryKind.FILE:
        os.unlink(name, dir_fd=parent)
        return
    try:
        os.rmdir(name, dir_fd=parent)
    except OSError as error:
        # Somebody has put something into it: it is theirs again.
        if error.errno in {errno.ENOTEMPTY, errno.EEXIST}:
            raise _Changed("something is in it again") from None
        raise


def _set_aside(parent: int, removal: Removal, where: Path) -> None:
    _check(parent, removal)
    name = removal.entry.parts[-1]
    where.parent.mkdir(parents=True, exist_ok=True)
    if os.stat(where.parent).st_dev != removal.entry.identity.device:  # noqa: PTH116 - as below
        if removal.entry.kind is EntryKind.DIRECTORY:
            raise ResumeDaemonError(
                "set aside", removal.path, "it lies on another file system than the sidecar"
            )
        copy_verified(parent, name, where, removal.entry.identity)
        _check(parent, removal)
        os.unlink(name, dir_fd=parent)
        return
    os.rename(name, where, src_dir_fd=parent)
    status = os.lstat(where)
    arrived = Identity.of(status)
    before = removal.entry.identity
    if removal.entry.kind is EntryKind.FILE and arrived != before:
        # Another file took the name between the look and the move, or this one was written to.
        try:
            os.link(where, name, dst_dir_fd=parent, follow_symlinks=False)
        except OSError as error:
            reason = f"it changed at the very moment, and is in {where} now"
            raise ResumeDaemonError("set aside", removal.path, reason) from error
        where.unlink()
        raise _Changed("it changed at the very moment, and is where it was")
