"""How far the numbers of a tensor may move from one checkpoint to the next without a finding."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """What is judged as damage; ``docs/thresholds.md`` has the measurements behind it.

    Attributes:
        largest_growth: Times by which the largest magnitude of a matrix may grow beyond those of
            the two checkpoints before, its ordinary values standing still.
        change_growth: Times by which a matrix may change more than between the two before.
    """

    largest_growth: float = 8.0
    change_growth: float = 100.0
