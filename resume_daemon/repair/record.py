"""One repair as it is kept: what each step found, what it leaves, and what its inverse needs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from resume_daemon.errors import FormatError
from resume_daemon.files import canonical_json
from resume_daemon.formats.json_document import parse_json

SCHEMA = 1

Status = Literal["applying", "applied", "undoing", "undone"]


@dataclass(frozen=True, slots=True)
class Original:
    """A file as it was: permission bits, owner, and times in nanoseconds since the epoch."""

    mode: int
    uid: int
    gid: int
    atime_ns: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Kept:
    """One step.

    Attributes:
        action: Which action proposed it.
        checkpoint: Whose it is, or None.
        sentence: What it does.
        target: What it writes, or where it moves to.
        before: Digest of what was at the target, None for nothing; of a move, that of the listing.
        after: Digest of what is there afterwards; of a move, that of the listing.
        source: Of a move: what is moved.
        original: Of a write that replaces a file: what that was.
    """

    action: str
    checkpoint: str | None
    sentence: str
    target: str
    before: str | None
    after: str
    source: str | None = None
    original: Original | None = None

    @property
    def is_move(self) -> bool:
        """Whether it moves something; otherwise it writes a file."""
        return self.source is not None

    @property
    def place(self) -> Path:
        """The target as a path."""
        return Path(self.target)


@dataclass(frozen=True, slots=True)
class Repair:
    """A repair that was begun.

    Attributes:
        id: How it is called.
        at: When (UTC, RFC 3339).
        steps: In the order in which they are carried out.
        folders: Modification times (nanoseconds) of the directories that the steps touch: trainers
            rotate by those of checkpoints.
    """

    id: str
    at: str
    steps: tuple[Kept, ...]
    folders: dict[str, int]

    def encode(self) -> bytes:
        """Return the bytes that are written."""
        return canonical_json({"schema": SCHEMA, **asdict(self)})


def decode(content: bytes, path: Path) -> Repair:
    """Return a repair that was written.

    Raises:
        FormatError: It is damaged, or of another version.
    """
    document = parse_json(content, path)
    try:
        if document["schema"] != SCHEMA:
            raise FormatError("read the repair", path, f"its schema is {document['schema']!r}")
        return Repair(
            id=str(document["id"]),
            at=str(document["at"]),
            steps=tuple(_step(each) for each in document["steps"]),
            folders={str(name): int(at) for name, at in document["folders"].items()},
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FormatError("read the repair", path, f"it is damaged ({error!r})") from error


def _step(document: Any) -> Kept:
    original = document["original"]
    return Kept(**{**document, "original": None if original is None else Original(**original)})
