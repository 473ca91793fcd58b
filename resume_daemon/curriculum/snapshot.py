"""What is kept for one checkpoint: its curriculum state, trainer state and configuration."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from blake3 import blake3

from resume_daemon.curriculum.assignment import Assignment
from resume_daemon.curriculum.swap import (
    begin_swap,
    directory_parts,
    finish_swap,
    settle_swaps,
    write_flushed,
)
from resume_daemon.errors import FormatError, ResumeDaemonError, VanishedError
from resume_daemon.files import SMALL_FILE_LIMIT, canonical_json, flush_directory, read_bounded

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

INDEX = "snapshot.json"
CURRICULUM = "curriculum/"
"""Where in a snapshot a state file lies: this, and then its path in the run."""

ALGORITHM = "blake3"


@dataclass(frozen=True, slots=True)
class FileDigest:
    """Size in bytes and digest of one file of a snapshot."""

    size: int
    algorithm: str
    digest: str


@dataclass(frozen=True, slots=True)
class SnapshotIndex:
    """What a snapshot says of itself, in ``snapshot.json``.

    Attributes:
        checkpoint: Directory name of the checkpoint.
        step: The checkpoint's step.
        curriculum: State file (path in the run) to the version that belongs to the checkpoint.
        files: Name in the snapshot to size and digest.
    """

    checkpoint: str
    step: int
    curriculum: Mapping[str, Assignment] = field(default_factory=dict)
    files: Mapping[str, FileDigest] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return the shape that is written; it only grows."""
        return {
            "schema": 1,
            "checkpoint": self.checkpoint,
            "step": self.step,
            "curriculum": {file: a.as_json() for file, a in self.curriculum.items()},
            "files": {
                name: {"size": f.size, "algorithm": f.algorithm, "digest": f.digest}
                for name, f in self.files.items()
            },
        }


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A snapshot that was read and verified."""

    directory: Path
    index: SnapshotIndex

    def content(self, name: str) -> bytes:
        """Return the bytes of one of its files, verified once more.

        Raises:
            FormatError: It holds no such file, or another content than its index says.
        """
        if name not in self.index.files:
            raise FormatError("read the snapshot", self.directory, f"it holds no {name}")
        return _verified(self.directory, name, self.index.files[name])


def write_snapshot(
    snapshots: Path, contents: Mapping[str, bytes], index: SnapshotIndex
) -> SnapshotIndex:
    """Write a snapshot whole, replacing the one of the same checkpoint, and return its index.

    Every file and directory is flushed under a temporary name before the renames; whatever
    interrupts them, ``recover`` finds a whole one.

    Args:
        snapshots: ``<sidecar>/snapshots``.
        contents: Name in the snapshot to bytes.
        index: Its checkpoint, step and curriculum; ``files`` is filled in here.

    Raises:
        ValueError: A name is no relative path, or is that of the index.
    """
    directory_parts(index.checkpoint, most=1)
    for name in contents:
        directory_parts(name)
        if name == INDEX:
            raise ValueError(f"{INDEX} is the index of the snapshot and is written by it")
    complete = replace(
        index,
        files={
            name: FileDigest(len(content), ALGORITHM, blake3(content).hexdigest())
            for name, content in sorted(contents.items())
        },
    )
    new = begin_swap(snapshots, index.checkpoint)
    for name, content in contents.items():
        write_flushed(new / name, content)
    write_flushed(new / INDEX, canonical_json(complete.as_json()))
    for folder in sorted((p for p in new.rglob("*") if p.is_dir()), reverse=True):
        flush_directory(folder)
    flush_directory(new)
    finish_swap(new, snapshots / index.checkpoint)
    return complete


def read_snapshot(directory: Path) -> Snapshot:
    """Read a snapshot and verify every file of it.

    Raises:
        VanishedError: There is none.
        FormatError: A file is missing, is damaged, or the index is.
    """
    path = directory / INDEX
    raw = read_bounded(path)
    try:
        index = _index_from(json.loads(raw))
        for name in index.files:
            directory_parts(name)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise FormatError("read the snapshot", path, f"its index is damaged ({error})") from error
    for name, expected in index.files.items():
        _verified(directory, name, expected)
    return Snapshot(directory, index)


def list_snapshots(snapshots: Path) -> list[Path]:
    """Return the directories of all snapshots by name; temporary ones are left out."""
    if not snapshots.is_dir():
        return []
    return sorted(p for p in snapshots.iterdir() if p.is_dir() and not p.name.startswith("."))


def recover(snapshots: Path) -> list[str]:
    """Finish or roll back interrupted replacements; return a sentence for each thing done.

    To be called at start, before anything else touches the directory.
    """
    return settle_swaps(snapshots, is_whole)


def is_whole(directory: Path) -> bool:
    """Return whether a directory holds a snapshot that verifies."""
    try:
        read_snapshot(directory)
    except ResumeDaemonError:
        return False
    return True


def _verified(directory: Path, name: str, expected: FileDigest) -> bytes:
    path = directory / name
    if expected.algorithm != ALGORITHM:
        raise FormatError("verify the snapshot", path, f"{expected.algorithm} is not known here")
    try:
        content = read_bounded(path, SMALL_FILE_LIMIT)
    except VanishedError as error:
        raise FormatError(
            "verify the snapshot", path, "its index names it, and it is gone"
        ) from error
    if len(content) != expected.size or blake3(content).hexdigest() != expected.digest:
        raise FormatError("verify the snapshot", path, "its content is not what was written")
    return content


def _index_from(value: Any) -> SnapshotIndex:
    if value["schema"] != 1:
        raise ValueError(f"it has schema {value['schema']!r}, written by a newer version")
    return SnapshotIndex(
        checkpoint=str(value["checkpoint"]),
        step=int(value["step"]),
        curriculum={f: Assignment.from_json(f, a) for f, a in value["curriculum"].items()},
        files={
            str(name): FileDigest(int(f["size"]), str(f["algorithm"]), str(f["digest"]))
            for name, f in value["files"].items()
        },
    )
