"""What a curriculum state says: its stage, its step and the extent of its history. Pure."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from resume_daemon.curriculum.paths import find, parse_path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from resume_daemon.curriculum.schemas import Schema, Unit

STAGE_TEXT = 200
"""Characters of a stage's name that are kept."""

STEP_LIMIT = 2**62
"""A number from here on is no step (and would not fit the index)."""


@dataclass(frozen=True, slots=True)
class History:
    """The list of past evaluations that a state carries.

    Attributes:
        count: Number of entries.
        first_step: Step of the first entry that has one, or None.
        last_step: Step of the last entry that has one, or None.
        in_order: The steps never go back. Equal ones are in order: a trainer that logs and
            evaluates at one step appends twice.
        finite: No step or performance is NaN or infinite (Python's ``json`` writes and reads
            both).
    """

    count: int
    first_step: int | None
    last_step: int | None
    in_order: bool
    finite: bool

    @property
    def spacing(self) -> float | None:
        """Steps between two entries on average, or None where that cannot be known."""
        if self.count <= 1 or self.first_step is None or self.last_step is None:
            return None
        return max(0, self.last_step - self.first_step) / (self.count - 1)


@dataclass(frozen=True, slots=True)
class Summary:
    """What is read from a parsed state; each is None where the schema or the file has none."""

    schema: str | None = None
    unit: Unit | None = None
    stage: int | str | None = None
    step: int | None = None
    history: History | None = None
    timestamp: str | None = None


def summarise(document: Any, schema: Schema | None) -> Summary:
    """Return what ``document`` says when it is read by ``schema``."""
    if schema is None:
        return Summary()
    steps = [s for v in schema.values(document, schema.step) if (s := whole(v)) is not None]
    stages = [_stage(value) for value in schema.values(document, schema.stage)]
    histories = [v for v in schema.values(document, schema.history) if isinstance(v, list)]
    times = schema.values(document, [schema.timestamp] if schema.timestamp else [])
    return Summary(
        schema=schema.name,
        unit=schema.unit,
        stage=next((stage for stage in stages if stage is not None), None),
        step=max(steps, default=None),
        history=_history(histories[0], schema) if histories else None,
        timestamp=str(times[0])[:STAGE_TEXT] if times else None,
    )


def whole(value: Any) -> int | None:
    """Return a step: a whole number of at least 0 (``300.0`` is one, ``True`` and -1 are not)."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    if 0 <= value < STEP_LIMIT and value == int(value):
        return int(value)
    return None


def _stage(value: Any) -> int | str | None:
    if isinstance(value, str):
        return value[:STAGE_TEXT]
    return whole(value)


def _history(entries: Sequence[Any], schema: Schema) -> History:
    steps: list[int] = []
    finite = True
    for entry in entries:
        step = _inside(entry, schema.entry_step)
        performance = entry if schema.entry_performance is None else None
        if schema.entry_performance is not None:
            performance = _inside(entry, schema.entry_performance)
        finite = finite and _is_finite(step) and _is_finite(performance)
        if (number := whole(step)) is not None:
            steps.append(number)
    return History(
        count=len(entries),
        first_step=steps[0] if steps else None,
        last_step=steps[-1] if steps else None,
        in_order=all(a <= b for a, b in itertools.pairwise(steps)),
        finite=finite,
    )


def _inside(entry: Any, path: str | None) -> Any:
    values = find(entry, parse_path(path)) if path else []
    return values[0] if values else None


def _is_finite(value: Any) -> bool:
    return not isinstance(value, float) or math.isfinite(value)
