"""What differs between two curriculum states, in the words of a curriculum. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from resume_daemon.curriculum.documents import NotWholeError, parse_state
from resume_daemon.curriculum.paths import parse_path
from resume_daemon.curriculum.schemas import recognise
from resume_daemon.curriculum.summary import summarise

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from resume_daemon.curriculum.schemas import Schema
    from resume_daemon.curriculum.summary import History

MAX_CHANGES = 50
"""Changed keys that are listed; the others are counted."""

MAX_COMPARED = 100_000
"""Values that are compared; a document may claim any size."""

MAX_DEPTH = 32
SHOWN = 80
"""Characters of a value that are shown."""

ABSENT = "(absent)"


@dataclass(frozen=True, slots=True)
class Change:
    """One value that differs; both sides as shortened JSON, or ``ABSENT``."""

    path: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class StateDifference:
    """How two states differ.

    Attributes:
        changes: Stage, step and history first (as ``stage``, ``step``, ``history``), then other
            keys by their path.
        more: Changes that are not listed.
        complete: Everything was compared.
    """

    changes: tuple[Change, ...]
    more: int = 0
    complete: bool = True

    def as_json(self) -> dict[str, Any]:
        """Return the shape for ``--json``."""
        return {
            "changes": [
                {"path": c.path, "before": c.before, "after": c.after} for c in self.changes
            ],
            "more": self.more,
            "complete": self.complete,
        }


def compare_states(
    file: str, before: bytes, after: bytes, schemas: Sequence[Schema]
) -> StateDifference:
    """Return how two contents of the state file ``file`` differ."""
    if before == after:
        return StateDifference(())
    old, new = _parsed(file, before), _parsed(file, after)
    if old is None or new is None:
        sizes = f"{len(before)} bytes", f"{len(after)} bytes"
        return StateDifference((Change("content (not parsed)", *sizes),), complete=False)
    old_schema, new_schema = (recognise(d, file, schemas) for d in (old, new))
    one, two = summarise(old, old_schema), summarise(new, new_schema)
    told = [
        Change(name, _shown(a), _shown(b))
        for name, a, b in (
            ("schema", one.schema, two.schema),
            ("stage", one.stage, two.stage),
            ("step", one.step, two.step),
            ("history", _extent(one.history), _extent(two.history)),
        )
        if a != b
    ]
    skipped = {
        parse_path(path)
        for schema in (old_schema, new_schema)
        if schema
        for path in (*schema.stage, *schema.step, *schema.history)
    }
    listed: list[Change] = []
    more = compared = 0
    for change in _walk(old, new, (), skipped):
        compared += 1
        if compared > MAX_COMPARED:
            return StateDifference((*told, *listed), more, complete=False)
        if change is None:
            continue
        if len(listed) < MAX_CHANGES:
            listed.append(change)
        else:
            more += 1
    return StateDifference((*told, *listed), more)


def _parsed(file: str, content: bytes) -> Any:
    try:
        return parse_state(file, content)
    except NotWholeError:
        return None


def _walk(
    old: Any, new: Any, path: tuple[str | int, ...], skipped: set[tuple[str | int, ...]]
) -> Iterator[Change | None]:
    """Yield the changes below ``path``, and None for each pair that was compared and is equal."""
    if path in skipped:
        # Said already, in a line of its own: a rolled window would list every entry.
        yield None
    elif isinstance(old, dict) and isinstance(new, dict) and len(path) < MAX_DEPTH:
        for key in [*old, *(key for key in new if key not in old)]:
            place = (*path, str(key))
            if key not in old:
                yield Change(_spelled(place), ABSENT, _shown(new[key]))
            elif key not in new:
                yield Change(_spelled(place), _shown(old[key]), ABSENT)
            else:
                yield from _walk(old[key], new[key], place, skipped)
    elif isinstance(old, list) and isinstance(new, list) and len(path) < MAX_DEPTH:
        if len(old) != len(new):
            yield Change(_spelled(path), f"{len(old)} entries", f"{len(new)} entries")
        else:
            for number, (a, b) in enumerate(zip(old, new, strict=True)):
                yield from _walk(a, b, (*path, number), skipped)
    elif not _same(old, new):
        yield Change(_spelled(path), _shown(old), _shown(new))
    else:
        yield None


def _same(old: Any, new: Any) -> bool:
    """Return whether two values are alike; NaN is like NaN, and True is not like 1.

    Containers come here below ``MAX_DEPTH`` alone (YAML can nest one in itself): only their sizes
    are compared.
    """
    if isinstance(old, (dict, list)):
        return type(old) is type(new) and _shown(old) == _shown(new)
    return type(old) is type(new) and (old == new or (old != old and new != new))  # noqa: PLR0124 - NaN


def _spelled(path: tuple[str | int, ...]) -> str:
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")[: 2 * SHOWN] or "(the whole document)"


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return f"{len(value)} keys"
    if isinstance(value, list):
        return f"{len(value)} entries"
    if isinstance(value, str):
        value = value[: 2 * SHOWN]
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"


def _extent(history: History | None) -> str | None:
    if history is None:
        return None
    if history.first_step is None or history.count == 0:
        return f"{history.count} entries"
    return f"{history.count} entries, steps {history.first_step} to {history.last_step}"
