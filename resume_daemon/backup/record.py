"""What is written down of a backup: the last file to be written, so that it says that all is there.

At the destination, in the run's directory::

    <checkpoint>.<12 hex digits>/                the checkpoint's files, as they were
    <checkpoint>.<12 hex digits>.manifest.json   the manifest of its verification
    <checkpoint>.<12 hex digits>.b3sums          for `b3sum --check`, inside of the directory
    <checkpoint>.<12 hex digits>.backup.json     this record, written last

The digits are of the content, so that a checkpoint that was trained again under the same name is
another backup, and never overwrites the first.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from blake3 import blake3

from resume_daemon.curriculum.swap import directory_parts
from resume_daemon.errors import FormatError
from resume_daemon.files import canonical_json
from resume_daemon.formats.json_document import parse_json

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from resume_daemon.manifest import Manifest

SCHEMA = 1

RECORD = ".backup.json"
MANIFEST = ".manifest.json"
SUMS = ".b3sums"

RECORD_LIMIT = 64 * 1024 * 1024
"""Bytes of a record that are read at most: it has a line per file."""

_ID = re.compile(r"(?P<checkpoint>[^/]+)\.[0-9a-f]{12}")
_HEX = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class BackupFile:
    """One file; size in bytes, mtime in nanoseconds, ``digest`` the BLAKE3 of all its bytes."""

    name: str
    size: int
    mtime_ns: int
    mode: int
    digest: str


@dataclass(frozen=True, slots=True)
class Backup:
    """A whole backup.

    Attributes:
        id: Its name at the destination.
        checkpoint: The checkpoint's name.
        run: The run directory that it is of.
        step: The trainer's step, or None.
        layout: The layout's name.
        verdict: What it was worth when it was backed up.
        content: Digest of the names, sizes and digests of all its files.
        fingerprint: Of the listing that it was copied from.
        number: Which of the run's sound checkpoints it was, from 1; None where nobody counted.
        metrics: What the trainer had logged of it, by name.
        policy: Whether the policy asked for it, which may then drop it; a person's stay.
        at: When it was whole (UTC, RFC 3339).
        manifest: Digest of the manifest beside it.
        is_file: Whether the checkpoint is a file and those beside it, and no directory.
        folders: Modification time (nanoseconds) of its directory (``.``) and those inside.
        files: Its files.
        left_out: Links that lead out of the run, and what is no file.
    """

    id: str
    checkpoint: str
    run: str
    step: int | None
    layout: str
    verdict: str
    content: str
    fingerprint: str
    number: int | None
    metrics: Mapping[str, float]
    policy: bool
    at: str
    manifest: str
    is_file: bool
    folders: Mapping[str, int]
    files: tuple[BackupFile, ...]
    left_out: tuple[str, ...]

    @property
    def size(self) -> int:
        """The bytes of all its files."""
        return sum(file.size for file in self.files)

    @property
    def saved_ns(self) -> int:
        """When the trainer saved it, in nanoseconds since the epoch."""
        return max((file.mtime_ns for file in self.files), default=0)

    def encode(self) -> bytes:
        """Return the bytes that are written."""
        return canonical_json({"schema": SCHEMA, **asdict(self)})

    def sums(self) -> bytes:
        """Return the list that ``b3sum --check`` takes, inside of the backup's directory."""
        return "".join(f"{f.digest}  {f.name}\n" for f in self.files).encode(
            errors="surrogateescape"
        )


def decode(content: bytes, where: Path) -> Backup:
    """Return the backup that a record tells of.

    Raises:
        FormatError: It is no such record, or a name in it would lead out of the backup.
    """
    document = parse_json(content, where)
    try:
        if document["schema"] != SCHEMA:
            raise FormatError("read the backup", where, f"its schema is {document['schema']!r}")
        fields = {name: document[name] for name in Backup.__dataclass_fields__}
        fields["files"] = tuple(BackupFile(**each) for each in fields["files"])
        fields["left_out"] = tuple(fields["left_out"])
        fields["metrics"] = {name: float(value) for name, value in fields["metrics"].items()}
        backup = Backup(**fields)
        _check(backup)
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
        raise FormatError("read the backup", where, f"its record is damaged ({error!r})") from error
    return backup


def checkpoint_of(identity: str) -> str | None:
    """Return the checkpoint that a name at the destination is of; None where it is no backup's."""
    match = _ID.fullmatch(identity)
    return None if match is None else match["checkpoint"]


def identity_of(checkpoint: str, content: str) -> str:
    """Return the name of a checkpoint's backup at the destination."""
    return f"{checkpoint}.{content[:12]}"


def content_of(manifest: Manifest) -> str:
    """Return a digest of what a checkpoint consists of, wherever and whenever its files lie."""
    files = sorted((file.name, file.size) for file in manifest.files)
    digests = sorted((each.name, each.algorithm, each.digest) for each in manifest.resources)
    return blake3(canonical_json([files, digests])).hexdigest()


def _check(backup: Backup) -> None:
    """Raise where a value is not what is relied on; a record comes from elsewhere."""
    texts: list[Any] = [backup.run, backup.layout, backup.verdict, backup.fingerprint, backup.at]
    texts += [backup.id, backup.checkpoint, backup.content, backup.manifest, *backup.left_out]
    if not all(isinstance(text, str) for text in texts):
        raise TypeError("a text is none")
    if checkpoint_of(backup.id) != backup.checkpoint or backup.checkpoint.startswith("."):
        raise ValueError(f"{backup.id!r} is no backup of {backup.checkpoint!r}")
    directory_parts(backup.checkpoint, most=1)
    counts: list[Any] = [n for file in backup.files for n in (file.size, file.mode)]
    counts += [each for each in (backup.step, backup.number) if each is not None]
    times: list[Any] = [*backup.folders.values(), *(file.mtime_ns for file in backup.files)]
    if not all(type(each) is int and abs(each) < 1 << 63 for each in (*counts, *times)):
        raise ValueError("a number is none")
    if min(counts, default=0) < 0:
        raise ValueError("a size is below zero")
    if not all(type(flag) is bool for flag in (backup.policy, backup.is_file)):
        raise TypeError("a flag is none")
    for folder in backup.folders:
        if folder != ".":
            directory_parts(folder)
    for file in backup.files:
        directory_parts(file.name)
        if _HEX.fullmatch(file.digest) is None:
            raise ValueError(f"{file.name} has no digest")
    if len({file.name for file in backup.files}) != len(backup.files):
        raise ValueError("a file stands there twice")
