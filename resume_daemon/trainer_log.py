"""What the trainer itself logged, as far as others compare with it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Any


@dataclass(frozen=True, slots=True)
class TrainerLog:
    """The extent of ``log_history``.

    Attributes:
        first_step: Step of the first entry.
        last_step: Step of the last entry.
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
        if isinstance(entry, dict) and type(step := entry.get("step")) is int and step > 0
    ]
    if not steps:
        return None
    distances = [b - a for a, b in pairwise(steps) if b > a]
    cadence = int(median(distances)) if distances else 1
    return TrainerLog(min(steps), max(steps), max(1, cadence))
