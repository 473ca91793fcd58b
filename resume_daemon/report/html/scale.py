"""From values to places in a picture, and the numbers that stand at an axis. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_LARGE = 10_000
_UNITS = ((10**9, "G"), (10**6, "M"), (10**3, "k"))


@dataclass(frozen=True, slots=True)
class Scale:
    """A straight axis: ``low`` to ``high`` of the data lie from ``start`` to ``end``."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """Return where a value lies, to a tenth of a unit."""
        part = (value - self.low) / (self.high - self.low)
        return round(self.start + part * (self.end - self.start), 1)


def scale(values: Iterable[float], start: float, end: float, *, zero: bool = False) -> Scale:
    """Return an axis on which all values lie, with room where they are all the same.

    Args:
        values: Finite ones; none make an axis from 0 to 1.
        start: Where the lowest lies.
        end: Where the highest lies.
        zero: Whether 0 lies on it in any case.
    """
    found = [*values, *([0.0] if zero else [])]
    low, high = min(found, default=0.0), max(found, default=1.0)
    if low == high:
        low, high = (low - 1, high + 1) if not zero or low else (0.0, 1.0)
    return Scale(low, high, start, end)


def ticks(low: float, high: float, *, most: int = 6, whole: bool = False) -> list[float]:
    """Return round numbers from ``low`` to ``high``: steps of 1, 2 or 5 and zeros.

    Args:
        low: The lower end.
        high: The upper end, above ``low``.
        most: How many there may be.
        whole: Whether they have to be whole numbers.
    """
    rough = (high - low) / max(most - 1, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1, 2, 5, 10, 20) if (high - low) / (power * m) < most)
    if whole:
        step = max(1.0, step)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)]


def number_words(value: float) -> str:
    """Return a number as it stands at an axis: 12 k, 0.25, 3."""
    for size, unit in _UNITS:
        if abs(value) >= size and (unit != "k" or abs(value) >= _LARGE):
            return f"{value / size:.4g} {unit}"
    return f"{value:.6g}"
