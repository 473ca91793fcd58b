"""Back up one verified checkpoint: send what is not there, read it back, then say that it is whole.

What was sent counts only once the destination has given back the bytes that were verified. The
record that makes a backup one is written last. So whatever interrupts it, the next attempt goes on
with what is there, and nothing that is half there is ever taken for a backup.
"""

from __future__ import annotations

import os
import stat
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from resume_daemon.backup.inventory import read_record, remove_backup
from resume_daemon.backup.pieces import SourceFile
from resume_daemon.backup.reading_back import digests_of
from resume_daemon.backup.record import (
    MANIFEST,
    RECORD,
    SUMS,
    Backup,
    BackupFile,
    content_of,
    identity_of,
)
from resume_daemon.backup.sent import FullError, How
from resume_daemon.errors import ChangedError, FormatError, ResumeDaemonError, VanishedError
from resume_daemon.files import open_regular
from resume_daemon.layouts.registry import list_checkpoint
from resume_daemon.ledger.record import rfc3339, utc_now
from resume_daemon.listing import EntryKind
from resume_daemon.manifest import digest_of, range_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from resume_daemon.backup.destinations import Destination
    from resume_daemon.backup.pace import Pace
    from resume_daemon.listing import Listing
    from resume_daemon.manifest import Manifest, ManifestFile


@dataclass(frozen=True, slots=True)
class Subject:
    """The checkpoint to back up, and what is known of it.

    Attributes:
        path: Where it is, in its run.
        manifest: Of its deep verification; the backup holds exactly this.
        step: The trainer's step, or None.
        verdict: What it is worth.
        number: Which of the run's sound checkpoints it is; None where nobody counted.
        metrics: What the trainer had logged of it.
        policy: Whether the policy asks for it.
    """

    path: Path
    manifest: Manifest
    step: int | None
    verdict: str
    number: int | None
    metrics: Mapping[str, float]
    policy: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """What backing up came to.

    Attributes:
        backup: The backup, whole and verified.
        new: Whether it was not there before.
        sent: Bytes that were sent.
        how: In which ways files came there, this time.
        seconds: Wall-clock time that it took.
    """

    backup: Backup
    new: bool
    sent: int
    how: frozenset[How]
    seconds: float


def back_up(
    subject: Subject, destination: Destination, pace: Pace, *, anew: bool = False
) -> Outcome:
    """Back up a checkpoint, or go on with that; return once all of it is verified there.

    A checkpoint that goes away or changes meanwhile, and a destination that is full, leave nothing
    behind. Any other end leaves what is there for the next attempt.

    Args:
        subject: The checkpoint.
        destination: Where to.
        pace: Asked before each read and write.
        anew: Whether a backup that is there is read back once more, and what of it is damaged is
            sent again; its record alone will do otherwise.

    Raises:
        VanishedError: It went away: the trainer rotated it.
        ChangedError: It is not what was verified.
        FullError: There is no room.
        CancelledError: The work should end.
        ResumeDaemonError: Something could not be read, sent, or was not given back as it was sent.
    """
    begin = time.monotonic()
    identity = identity_of(subject.path.name, content_of(subject.manifest))
    known = None
    with suppress(VanishedError, FormatError):
        known = _kept(read_record(destination, identity), subject, destination)
    if known is not None and not anew:
        return Outcome(known, new=False, sent=0, how=frozenset(), seconds=time.monotonic() - begin)
    try:
        listing = _listing(subject)
        sent, how, files = 0, set(), []
        for file in subject.manifest.files:
            source = SourceFile(listing.path(file.name), file, pace)
            copied, found = _ensure(
                source, subject.manifest, f"{identity}/{file.name}", destination
            )
            files.append(copied)
            if found is not None:
                sent += found[1]
                how.add(found[0])
        backup = _record(subject, identity, listing, tuple(files))
        _listing(subject)
    except (VanishedError, ChangedError, FullError):
        # It can never become whole, or it keeps others from it.
        if known is None:
            with suppress(ResumeDaemonError):
                remove_backup(destination, identity)
        raise
    destination.write(identity + MANIFEST, subject.manifest.encode())
    destination.write(identity + SUMS, backup.sums())
    destination.write(identity + RECORD, backup.encode())
    return Outcome(
        backup, new=known is None, sent=sent, how=frozenset(how), seconds=time.monotonic() - begin
    )


def _kept(known: Backup, subject: Subject, destination: Destination) -> Backup:
    """Return a backup that was there; one that a person asks for is not the policy's any more."""
    if not known.policy or subject.policy:
        return known
    kept = replace(known, policy=False)
    destination.write(kept.id + RECORD, kept.encode())
    return kept


def _listing(subject: Subject) -> Listing:
    """Return the checkpoint's files, which are those that were verified."""
    listing = list_checkpoint(subject.path, boundary=subject.path.parent)
    if listing.fingerprint() != subject.manifest.fingerprint:
        raise ChangedError("back up", subject.path, "it changed since it was verified")
    return listing


def _ensure(
    source: SourceFile, manifest: Manifest, name: str, destination: Destination
) -> tuple[BackupFile, tuple[How, int] | None]:
    """Return a file that is at the destination, and how it was sent; None where it was there."""
    file = source.file
    sent = None
    if destination.size_of(name) == file.size:
        whole = _read_back(source, manifest, name, destination)
        if whole is not None:
            return _described(source, whole), None
    done = destination.send(source, name)
    sent = done.how, done.size
    whole = _read_back(source, manifest, name, destination)
    if whole is None:
        destination.remove(name)
        raise ResumeDaemonError(
            "back up",
            source.path,
            f"what {destination.label} gives back is not what it was given",
            hint="It is sent again next time. If that goes on, do not trust this destination.",
        )
    return _described(source, whole), sent


def _read_back(
    source: SourceFile, manifest: Manifest, name: str, destination: Destination
) -> str | None:
    """Return the digest of a whole file at the destination; None where it is not what it should be.

    The ranges are compared with what was verified, so that the source cannot have changed either.
    """
    file = source.file
    resources = manifest.digests_of(file.name)
    ranges = [range_of(each.name, file.size) for each in resources]
    try:
        found = digests_of(destination.pieces(name, file.size, source.pace), ranges)
    except (VanishedError, ChangedError):
        return None
    wanted = tuple(each.digest for each in resources)
    return found.whole if found.ranges == wanted else None


def _described(source: SourceFile, digest: str) -> BackupFile:
    with open_regular(source.path) as fd:
        source.check(fd)
        mode = stat.S_IMODE(os.fstat(fd).st_mode)
    file = source.file
    return BackupFile(file.name, file.size, file.mtime_ns, mode, digest)


def _record(
    subject: Subject, identity: str, listing: Listing, files: tuple[BackupFile, ...]
) -> Backup:
    manifest = subject.manifest
    regular = {name for name, entry in listing.entries.items() if entry.kind is EntryKind.FILE}
    return Backup(
        id=identity,
        checkpoint=subject.path.name,
        run=str(subject.path.parent),
        step=subject.step,
        layout=manifest.layout,
        verdict=subject.verdict,
        content=content_of(manifest),
        fingerprint=manifest.fingerprint,
        number=subject.number,
        metrics=dict(subject.metrics),
        policy=subject.policy,
        at=rfc3339(utc_now()),
        manifest=digest_of(manifest.encode()),
        is_file=listing.file is not None,
        folders={} if listing.file is not None else _folders(listing.root, manifest.files),
        files=files,
        left_out=tuple(sorted(set(listing.entries) - regular)),
    )


def _folders(root: Path, files: tuple[ManifestFile, ...]) -> dict[str, int]:
    """Return the modification time of each directory: trainers rotate by that of the first."""
    names = {parent.as_posix() for file in files for parent in PurePosixPath(file.name).parents}
    try:
        return {name: (root / name).stat().st_mtime_ns for name in sorted({*names, "."})}
    except OSError as error:
        raise VanishedError("back up", root, "it is not there any more") from error
