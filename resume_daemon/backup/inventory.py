"""What is at the destination: whole backups, and what an interruption left."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from resume_daemon.backup.record import (
    MANIFEST,
    RECORD,
    RECORD_LIMIT,
    SUMS,
    checkpoint_of,
    decode,
)
from resume_daemon.errors import FormatError, ResumeDaemonError, VanishedError

if TYPE_CHECKING:
    from resume_daemon.backup.destinations import Destination
    from resume_daemon.backup.record import Backup


@dataclass(frozen=True, slots=True)
class Inventory:
    """What is there.

    Attributes:
        backups: Whole ones, the one that was saved last first.
        unfinished: Names of those that have no record: under way, or cut off.
        damaged: Names of those whose record cannot be read, each with why.
    """

    backups: tuple[Backup, ...] = ()
    unfinished: tuple[str, ...] = ()
    damaged: tuple[tuple[str, str], ...] = ()


def take_inventory(destination: Destination) -> Inventory:
    """Return what is there, by the records alone; no file of a checkpoint is read.

    Raises:
        ResumeDaemonError: The destination cannot be listed or read.
    """
    names = destination.names()
    records = [name.removesuffix(RECORD) for name in names if name.endswith(RECORD)]
    known = [each for each in records if checkpoint_of(each) is not None]
    backups, damaged = [], []
    for identity in known:
        try:
            backups.append(read_record(destination, identity))
        except VanishedError:
            continue
        except FormatError as error:
            damaged.append((identity, error.reason))
    backups.sort(key=lambda each: (each.saved_ns, each.step or 0, each.id), reverse=True)
    there = {_owner(name) for name in names} - {None, *known}
    return Inventory(
        tuple(backups), tuple(sorted(each for each in there if each is not None)), tuple(damaged)
    )


def read_record(destination: Destination, identity: str) -> Backup:
    """Return a whole backup.

    Raises:
        VanishedError: There is none of that name.
        FormatError: Its record is damaged, or is that of another one.
        ResumeDaemonError: It cannot be read.
    """
    name = identity + RECORD
    shown = Path(destination.label) / name
    backup = decode(destination.read(name, RECORD_LIMIT), shown)
    if backup.id != identity:
        raise FormatError("read the backup", shown, f"it is the record of {backup.id}")
    return backup


def remove_backup(destination: Destination, identity: str) -> None:
    """Remove a backup, or what there is of it: the record first, so that no half of it counts.

    Raises:
        ResumeDaemonError: It cannot be removed.
    """
    if checkpoint_of(identity) is None:
        raise ResumeDaemonError("remove the backup", identity, "that is no backup's name")
    destination.remove(identity + RECORD)
    destination.remove_folder(identity)
    destination.remove(identity + SUMS)
    destination.remove(identity + MANIFEST)


def _owner(name: str) -> str | None:
    """Return the backup that a name at the destination belongs to, or None."""
    for suffix in (RECORD, MANIFEST, SUMS):
        name = name.removesuffix(suffix)
    return name if checkpoint_of(name) is not None else None
