"""Looking below the roots: every directory is opened from its parent, and no link is followed.

``listing`` is for checkpoints, which are small; a root may hold a hundred thousand samples, and the
directories themselves matter here. What is certainly none of a clean-up's business is not entered.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from resume_daemon.cleanup.protected import is_closed, is_staging, may_be_overlooked
from resume_daemon.cleanup.values import Entry, EntryKind, Identity, Tree
from resume_daemon.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

MAX_ENTRIES = 1_000_000
"""Entries below one root after which no more are looked at."""

MAX_DEPTH = 24
"""Levels below a root that are looked at."""


@dataclass(slots=True)
class _Looking:
    """One walk while it goes on."""

    root: Path
    device: int
    skip: frozenset[Path]
    limit: int
    found: list[Entry] = field(default_factory=list)
    unseen: list[tuple[Path, str]] = field(default_factory=list)


def walk(
    root: Path,
    *,
    is_run: bool = False,
    skip: frozenset[Path] = frozenset(),
    limit: int = MAX_ENTRIES,
) -> Tree:
    """Return what is below a root.

    What cannot be listed, lies on another file system, or is beyond the bounds is named in
    ``unseen``; nothing in it is touched then.

    Args:
        root: Absolute, links resolved.
        is_run: It is the run.
        skip: Directories that are not entered, because they are roots of their own.
        limit: Entries that are looked at.

    Raises:
        UsageError: The root cannot be opened.
    """
    try:
        fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise UsageError("clean up", root, error.strerror or str(error)) from error
    try:
        identity = Identity.of(os.fstat(fd))
        looking = _Looking(root, identity.device, skip, limit)
        _look(fd, (), looking)
    finally:
        os.close(fd)
    return Tree(root, identity, tuple(looking.found), tuple(looking.unseen), is_run)


def _look(fd: int, parts: tuple[str, ...], looking: _Looking) -> None:
    """Add what is in one open directory, and below it."""
    here = looking.root.joinpath(*parts)
    try:
        names = sorted(os.listdir(fd))
    except OSError as error:
        looking.unseen.append((here, error.strerror or str(error)))
        return
    # A directory's own files come before what is in its directories.
    below: list[Entry] = []
    for name in names:
        if len(looking.found) >= looking.limit:
            why = f"there are more than {looking.limit} files below the root"
            looking.unseen.append((here, why))
            return
        entry = _entry(fd, (*parts, name))
        if entry is None:
            continue
        if entry.kind is not EntryKind.DIRECTORY:
            looking.found.append(entry)
            continue
        if here / name in looking.skip:
            continue
        looking.found.append(entry)
        # A save that was never published is looked at whole: it goes whole or not at all.
        if not is_closed(here / name) or is_staging(entry.parts[0]):
            below.append(entry)
        elif may_be_overlooked(here / name):
            why = "it may be a checkpoint by its name; name it with --root if it is none"
            looking.unseen.append((here / name, why))
    for entry in below:
        path = looking.root.joinpath(*entry.parts)
        if entry.identity.device != looking.device:
            looking.unseen.append((path, "it is on another file system; name it with --root"))
        elif len(entry.parts) >= MAX_DEPTH:
            looking.unseen.append((path, f"it is more than {MAX_DEPTH} levels down"))
        else:
            _enter(fd, entry, looking)


def _enter(fd: int, entry: Entry, looking: _Looking) -> None:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        inner = os.open(entry.parts[-1], flags, dir_fd=fd)
    except FileNotFoundError:
        return  # It went away since.
    except OSError as error:
        path = looking.root.joinpath(*entry.parts)
        looking.unseen.append((path, error.strerror or str(error)))
        return
    try:
        _look(inner, entry.parts, looking)
    finally:
        os.close(inner)


def _entry(fd: int, parts: tuple[str, ...]) -> Entry | None:
    """Return what has that name in an open directory, or None where it is gone."""
    try:
        status = os.stat(parts[-1], dir_fd=fd, follow_symlinks=False)
        target = os.readlink(parts[-1], dir_fd=fd) if stat.S_ISLNK(status.st_mode) else ""
    except OSError:
        return None
    return Entry(parts, _kind(status.st_mode), Identity.of(status), target)


def _kind(mode: int) -> EntryKind:
    if stat.S_ISREG(mode):
        return EntryKind.FILE
    if stat.S_ISDIR(mode):
        return EntryKind.DIRECTORY
    return EntryKind.LINK if stat.S_ISLNK(mode) else EntryKind.OTHER
