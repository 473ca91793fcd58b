"""What a file at the destination turns out to be when it is read there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from blake3 import blake3

from resume_daemon.errors import ChangedError, VanishedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from resume_daemon.backup.destinations import Destination
    from resume_daemon.backup.pace import Pace
    from resume_daemon.backup.record import Backup, BackupFile


@dataclass(frozen=True, slots=True)
class Digests:
    """The BLAKE3 of a whole file, and of each of its ranges."""

    whole: str
    ranges: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Damage:
    """A file of a backup that is not what was backed up, and in which way."""

    file: str
    reason: str


def digests_of(pieces: Iterable[bytes], ranges: Sequence[tuple[int, int]]) -> Digests:
    """Return the digests of a file.

    Args:
        pieces: Its bytes, in order.
        ranges: Begin and end of each range, in order and without gaps.
    """
    whole = blake3()
    parts = [blake3() for _ in ranges]
    offset = place = 0
    for piece in pieces:
        whole.update(piece)
        view = memoryview(piece)
        while view:
            if offset >= ranges[place][1]:
                place += 1
            share = view[: ranges[place][1] - offset]
            parts[place].update(share)
            offset += len(share)
            view = view[len(share) :]
    return Digests(whole.hexdigest(), tuple(part.hexdigest() for part in parts))


def damage_of(
    backup: Backup, file: BackupFile, destination: Destination, pace: Pace
) -> Damage | None:
    """Return in which way a file is not what was backed up, or None where it is.

    Raises:
        ResumeDaemonError: It cannot be read, which says nothing of what it is.
    """
    name = f"{backup.id}/{file.name}"
    size = destination.size_of(name)
    if size is None:
        return Damage(file.name, "it is missing")
    if size != file.size:
        return Damage(file.name, f"it has {size} bytes, and had {file.size}")
    try:
        whole = blake3()
        for piece in destination.pieces(name, size, pace):
            whole.update(piece)
    except (VanishedError, ChangedError) as error:
        return Damage(file.name, error.reason)
    if whole.hexdigest() != file.digest:
        return Damage(file.name, "its bytes are not those that were backed up")
    return None


def damages(backup: Backup, destination: Destination, pace: Pace) -> tuple[Damage, ...]:
    """Return every file of a backup that is not what was backed up; reads all of it.

    Raises:
        ResumeDaemonError: One cannot be read.
    """
    found = (damage_of(backup, file, destination, pace) for file in backup.files)
    return tuple(each for each in found if each is not None)
