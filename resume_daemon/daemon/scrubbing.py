"""Which checkpoint is read again next, and whether now: decided from values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, slots=True)
class Settings:
    """When and how fast.

    Attributes:
        enabled: Whether anything is read again.
        interval: Seconds from one read of a checkpoint to the next.
        bytes_per_second: The most that is read.
    """

    enabled: bool
    interval: float
    bytes_per_second: int


@dataclass(frozen=True, slots=True)
class Candidate:
    """A checkpoint that has a manifest, and when it was last read whole (seconds, wall clock)."""

    name: str
    read_at: float


def next_scrub(
    candidates: Iterable[Candidate], settings: Settings, *, waiting: bool, now: float
) -> str | None:
    """Return the checkpoint to read again now: the one that was left alone for longest, if due.

    One that was interrupted stays that one, so it is gone on with before any other is begun.

    Args:
        candidates: What could be read.
        settings: When and how fast.
        waiting: Whether a new checkpoint waits for its verdict, or a snapshot is owed.
        now: Wall-clock time.
    """
    if waiting or not settings.enabled:
        return None
    due = [each for each in candidates if now - each.read_at >= settings.interval]
    return min(due, key=lambda each: (each.read_at, each.name)).name if due else None
