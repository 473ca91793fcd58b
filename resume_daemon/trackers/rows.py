"""The trusted rows of one segment, kept small: a million of them take 24 MB, not 200."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING

from resume_daemon.steps import StepPair

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class TrustedRows:
    """Step pairs of one segment in the order of the log, found by their trainer step.

    Args:
        tracker: Of every pair.
        run_id: Of every pair.
        segment: Of every pair.
    """

    def __init__(self, tracker: str, run_id: str, segment: str) -> None:
        self._tracker = tracker
        self._run_id = run_id
        self._segment = segment
        self._trainer = array("q")
        self._steps = array("q")
        self._offsets = array("q")

    def __len__(self) -> int:
        return len(self._trainer)

    def extend(self, pairs: Iterable[StepPair]) -> None:
        """Add pairs; one whose trainer step goes back replaces those that it repeats."""
        for pair in pairs:
            while self._trainer and self._trainer[-1] >= pair.trainer_step:
                self._trainer.pop()
                self._steps.pop()
                self._offsets.pop()
            self._trainer.append(pair.trainer_step)
            self._steps.append(pair.tracker_step)
            self._offsets.append(pair.offset)

    def at_or_below(self, trainer_step: int) -> StepPair | None:
        """Return the pair of a trainer step, or of the highest below it; None if all are above."""
        low, high = 0, len(self._trainer)
        while low < high:
            middle = (low + high) // 2
            if self._trainer[middle] <= trainer_step:
                low = middle + 1
            else:
                high = middle
        return self._pair(low - 1) if low else None

    def last(self) -> StepPair | None:
        """Return the newest pair."""
        return self._pair(len(self._trainer) - 1) if self._trainer else None

    def _pair(self, index: int) -> StepPair:
        return StepPair(
            tracker=self._tracker,
            run_id=self._run_id,
            segment=self._segment,
            tracker_step=self._steps[index],
            trainer_step=self._trainer[index],
            offset=self._offsets[index],
        )


@dataclass(frozen=True, slots=True)
class SegmentRows:
    """One segment, as far as it matters to which checkpoint a row belongs.

    Attributes:
        started_at: When its process started, seconds since the epoch.
        ended: No more rows will come: it ended in an orderly way, or another one followed.
        rows: Its trusted rows.
    """

    started_at: float
    ended: bool
    rows: TrustedRows


def pair_of_checkpoint(
    step: int, changed: float, segments: Sequence[SegmentRows]
) -> StepPair | None:
    """Return the row that was logged at a checkpoint's step by the process that wrote it.

    Where the step itself was not logged (a trainer that logs every tenth step), it is the latest
    row below it, once a later row shows that none will come in between: W&B writes rows late.

    Args:
        step: The checkpoint's.
        changed: When the checkpoint was last written, seconds since the epoch. A process that
            started later cannot have written it.
        segments: In the order of their start.

    Returns:
        The pair, or None: not yet, or never (the process logged nothing up to this step).
    """
    for segment in reversed(segments):
        last = segment.rows.last()
        if segment.started_at > changed or last is None:
            continue
        pair = segment.rows.at_or_below(step)
        if pair is None:
            continue  # It began after this step, so an earlier process wrote the checkpoint.
        if pair.trainer_step == step or last.trainer_step > step or segment.ended:
            return pair
        return None
    return None
