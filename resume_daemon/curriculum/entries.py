"""The performance that a curriculum state remembers, entry by entry. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from resume_daemon.curriculum.paths import find, parse_path
from resume_daemon.curriculum.summary import whole

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resume_daemon.curriculum.schemas import Schema


@dataclass(frozen=True, slots=True)
class Performance:
    """One entry of a history: ``step`` in the unit of its schema, and how well it went there."""

    step: int
    value: float


def performances(document: Any, schema: Schema) -> tuple[tuple[Performance, ...], int]:
    """Return the entries of a history in their order, and how many have no step or finite value.

    Args:
        document: The parsed state.
        schema: The one that recognised it.
    """
    found: list[Performance] = []
    left_out = 0
    for entry in _entries(document, schema):
        step = whole(_inside(entry, schema.entry_step))
        value = _inside(entry, schema.entry_performance)
        number = value if isinstance(value, (int, float)) and not isinstance(value, bool) else None
        if step is None or number is None or not math.isfinite(number):
            left_out += 1
            continue
        found.append(Performance(step, float(number)))
    return tuple(found), left_out


def _entries(document: Any, schema: Schema) -> Iterator[Any]:
    if schema.entry_step is None or schema.entry_performance is None:
        return
    for value in schema.values(document, schema.history):
        if isinstance(value, list):
            yield from value
            return


def _inside(entry: Any, path: str | None) -> Any:
    values = find(entry, parse_path(path)) if path else []
    return values[0] if values else None
