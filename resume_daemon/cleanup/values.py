"""What was found below the roots of a clean-up, and what is done about it, as values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import os
    from pathlib import Path


class EntryKind(StrEnum):
    """What an entry of a directory is; a link is never followed."""

    FILE = "file"
    DIRECTORY = "directory"
    LINK = "link"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Identity:
    """What tells one file from another that took its name: device, inode, bytes, mtime in ns."""

    device: int
    inode: int
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> Identity:
        """Return the identity of what was looked at."""
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


@dataclass(frozen=True, slots=True)
class Entry:
    """One file or directory below a root.

    Attributes:
        parts: Its path relative to the root, never empty.
        kind: What it is.
        identity: Which one it is.
        target: Where a link leads, as it is written in it; else an empty string.
    """

    parts: tuple[str, ...]
    kind: EntryKind
    identity: Identity
    target: str = ""


@dataclass(frozen=True, slots=True)
class Tree:
    """Everything below one root that was looked at, at one moment.

    Attributes:
        root: Absolute, links resolved.
        identity: Of the root itself; its size and mtime are not compared.
        entries: Files and directories, parents before what is in them.
        unseen: Places that were not looked into, each with why.
        is_run: The root is the run, whose checkpoints lie directly below it.
    """

    root: Path
    identity: Identity
    entries: tuple[Entry, ...]
    unseen: tuple[tuple[Path, str], ...] = ()
    is_run: bool = False

    def path(self, entry: Entry) -> Path:
        """Return where an entry is."""
        return self.root.joinpath(*entry.parts)


class Leftover(StrEnum):
    """What something is a left-over of."""

    BYTECODE = "bytecode"
    TEMPORARY = "temporary file"
    STAGING = "abandoned save"
    WANDB_CACHE = "W&B cache"
    DEBUG_LOG = "debug log"


class Action(StrEnum):
    """What is done with a left-over."""

    DELETE = "delete"
    """It can be made or downloaded again."""
    SET_ASIDE = "set aside"
    """It may hold what is nowhere else: it is moved into the sidecar, and can come back."""


@dataclass(frozen=True, slots=True)
class Removal:
    """One left-over that goes.

    Attributes:
        tree: The root that it lies below.
        entry: The file; a directory where a save was abandoned, or a bytecode directory that has
            become empty, which goes only if it is empty then.
        leftover: What it is.
        action: What is done with it.
        size: Bytes, of all that is in it.
        why: Why it may go, in words that finish "because".
    """

    tree: Tree
    entry: Entry
    leftover: Leftover
    action: Action
    size: int
    why: str

    @property
    def path(self) -> Path:
        """Where it is."""
        return self.tree.path(self.entry)

    def as_json(self) -> dict[str, Any]:
        """Return the shape that ``cleanup --json`` promises."""
        return {
            "path": str(self.path),
            "leftover": self.leftover.value,
            "action": self.action.value,
            "bytes": self.size,
            "why": self.why,
        }


@dataclass(frozen=True, slots=True)
class Kept:
    """A left-over that stays, and why."""

    path: Path
    leftover: Leftover
    why: str

    def as_json(self) -> dict[str, Any]:
        """Return the shape that ``cleanup --json`` promises."""
        return {"path": str(self.path), "leftover": self.leftover.value, "why": self.why}


@dataclass(frozen=True, slots=True)
class CleanupPlan:
    """What goes and what stays, in the order in which it was found; nothing else is touched."""

    removals: tuple[Removal, ...]
    kept: tuple[Kept, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one removal.

    Attributes:
        removal: The one.
        done: Whether it is gone from its place now.
        why: Where it is not: why. Where it was set aside: the place that it has now.
        failed: It could not be done although nothing had changed.
    """

    removal: Removal
    done: bool
    why: str
    failed: bool = False
