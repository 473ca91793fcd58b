"""What one round of reading the tracker's logs gave, as a value."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from resume_daemon.steps import StepPair
    from resume_daemon.trackers.wandb_local import SegmentState


@dataclass(frozen=True, slots=True)
class Dropped:
    """Rows that W&B refused in one segment; ``first`` and ``last`` are (trainer, W&B) steps."""

    count: int
    first: tuple[int, int]
    last: tuple[int, int]


@dataclass(frozen=True, slots=True)
class TrackerView:
    """Everything that is known of the tracker's side now.

    Attributes:
        directories: Where logs were found.
        segments: Every segment of the run, in the order in which they started.
        paths: Each segment's directory, by name.
        pairs: Trusted rows that are new since the last round, in order.
        told: What the trainer itself wrote down of its saves (``ResumeDaemonCallback``), oldest
            first; it may be ahead of the logs, which are written late.
        dropped: Rows that W&B dropped, by segment, all that were ever seen.
        undecided: Why it is not certain which logs belong to this run, or an empty string.
    """

    directories: tuple[Path, ...] = ()
    segments: tuple[SegmentState, ...] = ()
    paths: Mapping[str, Path] = field(default_factory=dict)
    pairs: tuple[StepPair, ...] = ()
    told: tuple[StepPair, ...] = ()
    dropped: Mapping[str, Dropped] = field(default_factory=dict)
    undecided: str = ""
