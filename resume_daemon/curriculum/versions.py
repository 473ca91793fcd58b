"""Every distinct version of a state file that was seen, kept by the digest of its content."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from blake3 import blake3

from resume_daemon.curriculum.assignment import Known
from resume_daemon.curriculum.state import STATE_LIMIT, interpret
from resume_daemon.errors import FormatError, VanishedError
from resume_daemon.files import canonical_json, flush_directory, read_bounded, write_atomic

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    from resume_daemon.curriculum.schemas import Schema
    from resume_daemon.curriculum.state import StateVersion

INDEX = "index.json"

_CONTENT = re.compile(r"([0-9a-f]{64})(\.[A-Za-z0-9]{1,16})?")


@dataclass(frozen=True, slots=True)
class Record:
    """What the index says of one version of one file; times in nanoseconds since the epoch."""

    file: str
    digest: str
    size: int
    step: int | None
    stage: int | str | None
    schema: str | None
    seen_at: int
    came_at: int
    backup: bool = False
    """Put aside by a restore: never assigned to a checkpoint, never pruned."""


class VersionStore:
    """``<sidecar>/curriculum/``: one file per version, and an index of when each was seen.

    One writer at a time: the lock of the run guards it. Content whose record was lost to a crash
    stays readable by its digest, and is recorded again when it is seen again.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def add(self, version: StateVersion, *, backup: bool = False) -> bool:
        """Keep a version; return whether its content was new.

        Content that is seen again after another one (a state put back by hand) gets a second
        record; the same version read again and again changes nothing.

        Raises:
            FormatError: What was written does not read back as what it was.
        """
        new = self._keep(version)
        records = self.records()
        last = next((r for r in reversed(records) if r.file == version.file and not r.backup), None)
        if not new and not backup and last is not None and last.digest == version.digest:
            return False
        record = Record(
            file=version.file,
            digest=version.digest,
            size=version.size,
            step=version.trainer_step,
            stage=version.stage,
            schema=version.schema,
            seen_at=version.seen_at,
            came_at=min(version.mtime_ns, version.seen_at),
            backup=backup,
        )
        self._write_index([*records, record])
        return new

    def get(self, digest: str) -> bytes:
        """Return the content of a version, verified by its digest.

        Raises:
            VanishedError: No such version is kept.
            FormatError: It is damaged.
        """
        path = self._contents().get(digest)
        if path is None:
            raise VanishedError("read the curriculum state version", digest, "it is not kept")
        content = read_bounded(path, STATE_LIMIT)
        if blake3(content).hexdigest() != digest:
            raise FormatError(
                "read the curriculum state version", path, "its content has another digest"
            )
        return content

    def version(self, record: Record, schemas: Sequence[Schema]) -> StateVersion:
        """Return a kept version as it was read, for comparison with a later one.

        Raises:
            VanishedError, FormatError: As ``get``.
            NotWholeError: It is a backup of a damaged file.
        """
        return interpret(
            record.file,
            self.get(record.digest),
            schemas,
            mtime_ns=record.came_at,
            seen_at=record.seen_at,
        )

    def known(self) -> list[Known]:
        """Return every version that may be assigned to a checkpoint, oldest first."""
        return [
            Known(r.digest, r.step, r.came_at, r.file, r.stage)
            for r in self.records()
            if not r.backup
        ]

    def records(self) -> list[Record]:
        """Return every record, in the order in which they were made.

        Raises:
            FormatError: The index is damaged.
        """
        path = self._directory / INDEX
        try:
            rows = json.loads(read_bounded(path))["versions"]
            return [Record(**row) for row in rows]
        except VanishedError:
            return []
        except (ValueError, KeyError, TypeError) as error:
            raise FormatError(
                "read the index of curriculum states",
                path,
                f"it is not what was written ({error})",
                hint="Rename it: the versions beside it stay, and are recorded when seen again.",
            ) from error

    def prune(self, keep: int, referenced: Collection[str]) -> list[str]:
        """Remove the oldest versions beyond ``keep`` of each file; return the removed digests.

        Never removed are one that a snapshot refers to, the newest of a file, a backup, and content
        that the index does not name.
        """
        records = self.records()
        stay: list[Record] = []
        counts: dict[str, int] = {}
        for record in reversed(records):
            counts[record.file] = count = counts.get(record.file, 0) + (not record.backup)
            if record.backup or count <= max(1, keep) or record.digest in referenced:
                stay.append(record)
        if len(stay) == len(records):
            return []
        # The index goes first: a record without content is worse than content without one.
        self._write_index(stay[::-1])
        surplus = {record.digest for record in records} - {record.digest for record in stay}
        contents = self._contents()
        for digest in surplus & contents.keys():
            contents[digest].unlink(missing_ok=True)
        flush_directory(self._directory)
        return sorted(surplus)

    def _keep(self, version: StateVersion) -> bool:
        existing = self._contents().get(version.digest)
        if existing is not None and _reads_as(existing, version.content):
            return False
        self._directory.mkdir(parents=True, exist_ok=True)
        suffix = PurePosixPath(version.file).suffix
        name = version.digest + suffix
        path = self._directory / (name if _CONTENT.fullmatch(name) else version.digest)
        write_atomic(existing or path, version.content)
        if not _reads_as(existing or path, version.content):
            raise FormatError(
                "keep the curriculum state",
                path,
                "what was written does not read back as what it was",
                hint="Check the file system that holds the state directory.",
            )
        return True

    def _contents(self) -> dict[str, Path]:
        if not self._directory.is_dir():
            return {}
        return {
            match[1]: path
            for path in self._directory.iterdir()
            if (match := _CONTENT.fullmatch(path.name))
        }

    def _write_index(self, records: list[Record]) -> None:
        rows = [asdict(record) for record in records]
        write_atomic(self._directory / INDEX, canonical_json({"schema": 1, "versions": rows}))


def _reads_as(path: Path, content: bytes) -> bool:
    return path.is_file() and read_bounded(path, STATE_LIMIT) == content
