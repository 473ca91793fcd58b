"""What the rules of a clean-up look at: all roots together, the time, and what is in use. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Final

from resume_daemon.cleanup.protected import SEGMENT, holds_state, is_closed, is_staging
from resume_daemon.cleanup.values import EntryKind
from resume_daemon.layouts.registry import is_checkpoint_name

if TYPE_CHECKING:
    from resume_daemon.cleanup.values import Entry, Identity, Tree

HOUR: Final = 3600 * 10**9
"""Nanoseconds that a file must have been left alone before it counts as left over."""

DAY: Final = 24 * HOUR
"""The same for what a process on another machine may still be writing: saves, and runs of W&B."""

IN_USE = "a process has it open"


def too_young(age: int) -> str:
    """Return that something was changed in the last so many nanoseconds."""
    return f"it was changed in the last {'hour' if age == HOUR else '24 hours'}"


@dataclass(frozen=True)
class TreeView:
    """One root, with what the rules ask of it.

    Attributes:
        tree: What was found.
        now_ns: The time, in nanoseconds since the epoch.
        in_use: Device and inode of what a process has open.
        damaged: Files of W&B's cache that are not what they should be.
    """

    tree: Tree
    now_ns: int
    in_use: frozenset[tuple[int, int]] = frozenset()
    damaged: frozenset[Identity] = frozenset()
    _protected: dict[tuple[str, ...], bool] = field(default_factory=dict)

    @cached_property
    def children(self) -> dict[tuple[str, ...], dict[str, Entry]]:
        """What lies directly in each directory, by name; the root is the empty tuple."""
        found: dict[tuple[str, ...], dict[str, Entry]] = {}
        for entry in self.tree.entries:
            found.setdefault(entry.parts[:-1], {})[entry.parts[-1]] = entry
        return found

    @cached_property
    def files(self) -> tuple[Entry, ...]:
        """The files that may be judged one by one: outside of checkpoints and runs of W&B."""
        return tuple(
            entry
            for entry in self.tree.entries
            if entry.kind is EntryKind.FILE
            and not self.is_protected(entry)
            and self.segment_of(entry) is None
        )

    def is_protected(self, entry: Entry) -> bool:
        """Return whether it is (in) a checkpoint, finished or not, or something else's to keep."""
        return is_checkpoint_name(entry.parts[-1]) or self._is_protected(entry.parts[:-1])

    def _is_protected(self, parts: tuple[str, ...]) -> bool:
        if (known := self._protected.get(parts)) is not None:
            return known
        names = self.children.get(parts, {})
        # The run itself may hold the weights of the finished training.
        if not parts:
            answer = not self.tree.is_run and holds_state(names)
        else:
            answer = (
                self._is_protected(parts[:-1])
                or is_closed(self.tree.root.joinpath(*parts))
                or is_staging(parts[-1])
                or holds_state(names)
            )
        self._protected[parts] = answer
        return answer

    @staticmethod
    def segment_of(entry: Entry) -> tuple[str, ...] | None:
        """Return the path of the run of W&B that an entry lies in, or None."""
        for depth, part in enumerate(entry.parts[:-1], 1):
            if SEGMENT.fullmatch(part):
                return entry.parts[:depth]
        return None

    def below(self, parts: tuple[str, ...]) -> list[Entry]:
        """Return everything below a directory."""
        found: list[Entry] = []
        pending = [parts]
        while pending:
            for entry in self.children.get(pending.pop(), {}).values():
                found.append(entry)
                if entry.kind is EntryKind.DIRECTORY:
                    pending.append(entry.parts)
        return found

    def is_complete(self, parts: tuple[str, ...]) -> bool:
        """Return whether everything below a directory was looked at."""
        place = self.tree.root.joinpath(*parts)
        return not any(path.is_relative_to(place) for path, _ in self.tree.unseen)

    def why_not(self, *entries: Entry, age: int = HOUR) -> str | None:
        """Return why these may still be needed by somebody, or None.

        Args:
            entries: What would go, together.
            age: Nanoseconds that all of it must have been left alone.
        """
        if any((e.identity.device, e.identity.inode) in self.in_use for e in entries):
            return IN_USE
        # A time in the future is that of another clock, so it says nothing: left alone.
        if any(self.now_ns - e.identity.mtime_ns < age for e in entries):
            return too_young(age)
        return None
