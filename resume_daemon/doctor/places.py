"""What is on the disk, how much room is left, and who owns it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from resume_daemon.doctor.disk import DiskFacts, Room, Saved
from resume_daemon.doctor.permissions import Owned, PermissionFacts
from resume_daemon.errors import ResumeDaemonError
from resume_daemon.files import open_regular
from resume_daemon.layouts.registry import layouts, list_checkpoint, step_of
from resume_daemon.listing import EntryKind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from resume_daemon.doctor.host import Host
    from resume_daemon.doctor.trained import Trained
    from resume_daemon.listing import Listing
    from resume_daemon.state_directory import StateDirectory

_ROOT = 0
_MAX_NAMES = 100_000


@dataclass(frozen=True, slots=True)
class Listed:
    """The checkpoints of a run, each listed once: the oldest first.

    Attributes:
        listings: By name.
        unreadable: Names that could not be listed, each with why.
    """

    listings: dict[str, Listing]
    unreadable: tuple[tuple[str, str], ...] = ()

    def newest_file(self) -> tuple[str, float] | None:
        """Return the file that was modified last and when, in seconds since the epoch."""
        return max(
            (
                (f"{name}/{entry.name}", entry.mtime_ns / 1e9)
                for name, listing in self.listings.items()
                for entry in listing.entries.values()
            ),
            key=lambda pair: pair[1],
            default=None,
        )

    def since(self, otherwise: float) -> float:
        """Return when the run began, at the latest: the oldest modification of any checkpoint."""
        times = [e.mtime_ns / 1e9 for x in self.listings.values() for e in x.entries.values()]
        return min(times, default=otherwise)


def listed(run: Path, names: Sequence[str]) -> Listed:
    """Return the listings of the checkpoints of a run."""
    found: dict[str, Listing] = {}
    unreadable = []
    for name in names:
        try:
            found[name] = list_checkpoint(Path(os.path.realpath(run / name)), boundary=run)
        except ResumeDaemonError as error:
            unreadable.append((name, error.reason))
    return Listed(found, tuple(unreadable))


def staging_in(run: Path) -> tuple[str, ...]:
    """Return the names of saves that were begun and not finished."""
    found = []
    with os.scandir(run) as entries:
        for number, entry in enumerate(entries):
            if number == _MAX_NAMES:
                break
            if any(each.is_staging(entry.name) for each in layouts()):
                found.append(entry.name)
    return tuple(sorted(found))


def disk_facts(
    run: Path,
    host: Host,
    checkpoints: Listed,
    trained: Trained,
    state: StateDirectory | None,
    *,
    count: int,
) -> DiskFacts:
    """Return what is written, how often, and how much room there is.

    Args:
        run: The run directory.
        host: The machine.
        checkpoints: Those that were listed, the newest.
        trained: What the newest says of its training.
        state: Where the daemon's files are, or None.
        count: How many checkpoints there are.

    Raises:
        OSError: The file system does not answer.
    """
    owner = run.stat()
    sidecar = None
    if state is not None and state.path.stat().st_dev != owner.st_dev:
        sidecar = _room(state.path, host, host.uid)
    return DiskFacts(
        room=_room(run, host, owner.st_uid),
        saved=tuple(
            sorted(
                (_saved(name, listing) for name, listing in checkpoints.listings.items()),
                key=lambda each: each.at,
            )
        ),
        sidecar=sidecar,
        limit=trained.save_total_limit,
        save_steps=trained.save_steps,
        last_step=trained.last_step,
        count=count,
    )


def permission_facts(run: Path, host: Host, checkpoints: Listed) -> PermissionFacts:
    """Return who owns the run and its checkpoints, and what cannot be read.

    Raises:
        OSError: The file system does not answer.
    """
    unreadable = list(checkpoints.unreadable)
    owned = []
    for name, listing in checkpoints.listings.items():
        owned.append(_owned(run / name, name))
        unreadable += _unreadable(name, listing)
    return PermissionFacts(
        run=_owned(run, run.name),
        checkpoints=tuple(owned),
        unreadable=tuple(unreadable),
        read_only=bool(host.statvfs(run).f_flag & os.ST_RDONLY),
        uid=host.uid,
        writable=host.access(run, os.W_OK | os.X_OK),
    )


def _unreadable(name: str, listing: Listing) -> list[tuple[str, str]]:
    """Return the first file of a checkpoint that cannot be opened: one says as much as all."""
    for entry in listing.entries.values():
        if entry.kind is not EntryKind.FILE:
            continue
        try:
            with open_regular(listing.path(entry.name)):
                continue
        except ResumeDaemonError as error:
            return [(f"{name}/{entry.name}", error.reason)]
    return []


def _room(path: Path, host: Host, uid: int) -> Room:
    found = host.statvfs(path)
    # What is reserved for root is there for a trainer that runs as root.
    blocks = found.f_bfree if uid == _ROOT else found.f_bavail
    # Btrfs and most network file systems make inodes as they need them, and report none.
    inodes = None
    if found.f_files:
        inodes = found.f_ffree if uid == _ROOT else found.f_favail
    return Room(found.f_frsize * found.f_blocks, found.f_frsize * blocks, inodes)


def _saved(name: str, listing: Listing) -> Saved:
    files = [each for each in listing.entries.values() if each.kind is EntryKind.FILE]
    return Saved(
        name=name,
        step=step_of(name),
        bytes=listing.total_bytes(),
        files=len(files),
        at=max((each.mtime_ns for each in files), default=0) / 1e9,
    )


def _owned(path: Path, name: str) -> Owned:
    status = path.stat()
    return Owned(name, status.st_uid, status.st_gid, status.st_mode)
