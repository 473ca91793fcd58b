"""The single values of a tree of lists and tables, by their places."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from resume_daemon.parameters.edits.kind import RefusedError

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_DEPTH: Final = 64
MAX_VALUES: Final = 100_000
"""Values, counted wherever an alias repeats them."""


def leaves(value: Any) -> dict[tuple[Any, ...], Any]:
    """Return every single value of a tree; of a list or table, the empty one.

    Raises:
        RefusedError: It is too large or nested too deeply to be compared.
    """
    found: dict[tuple[Any, ...], Any] = {}
    for place, leaf in _walk(value, ()):
        found[place] = leaf
        if len(found) > MAX_VALUES:
            raise RefusedError(f"it holds more than {MAX_VALUES} values")
    return found


def _walk(value: Any, place: tuple[Any, ...]) -> Iterator[tuple[tuple[Any, ...], Any]]:
    if len(place) > MAX_DEPTH:
        raise RefusedError(f"it is nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, dict):
        yield place, {}
        for key, inner in value.items():
            # Keys of a table apart from the places of a list, and 1 from True.
            yield from _walk(inner, (*place, (type(key).__name__, key)))
    elif isinstance(value, list):
        yield place, []
        for number, inner in enumerate(value):
            yield from _walk(inner, (*place, number))
    else:
        yield place, value
