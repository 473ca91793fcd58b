"""What the trainer itself logged, as far as others compare with it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Any

_LARGEST = 2**53
"""Above it no step is one: differences of such numbers do not fit a float."""


@dataclass(frozen=True, slots=True)
class TrainerLog:
    """The extent of ``log_history``.

    Attributes:
        first_step: Lowest step of any entry.
        last_step: Highest step of any entry.
        cadence: Steps between two entries, the median.
    """

    first_step: int
    last_step: int
    cadence: int


def trainer_log_of(state: Any) -> TrainerLog | None:
    """Return the extent of a decoded ``trainer_state.json``'s log; None where it has none."""
    log = state.get("log_history") if isinstance(state, dict) else None
    if not isinstance(log, list):
        return None
    steps = [
        step
        for entry in log
        if isinstance(entry, dict)
        and type(step := entry.get("step")) is int
        and 0 < step < _LARGEST
    ]
    if not steps:
        return None
    distances = [b - a for a, b in pairwise(steps) if b > a]
    cadence = int(median(distances)) if distances else 1
    return TrainerLog(min(steps), max(steps), max(1, cadence))
