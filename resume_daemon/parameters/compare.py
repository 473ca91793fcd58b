"""Whether two values of a parameter mean the same."""

from __future__ import annotations

import math
from pathlib import PurePath
from typing import Any


def same(one: Any, other: Any) -> bool:
    """Return whether two values mean the same: 1 and 1.0, lists and tuples, NaN and NaN.

    A truth value is no number, and the order of sets does not count.
    """
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        pairs = zip(one, other, strict=False)
        return len(one) == len(other) and all(same(a, b) for a, b in pairs)
    if isinstance(one, (set, frozenset)) or isinstance(other, (set, frozenset)):
        return bool(_as_set(one) == _as_set(other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, (int, float)) and isinstance(other, (int, float)):
        return bool(one == other or (math.isnan(one) and math.isnan(other)))
    if isinstance(one, PurePath) or isinstance(other, PurePath):
        return str(one) == str(other)
    return bool(one == other)


def _as_set(value: Any) -> Any:
    # Target modules are a set in one release of peft and a list in its file.
    iterable = isinstance(value, (list, tuple, set, frozenset))
    return frozenset(map(str, value)) if iterable else value
