"""Where a value lies in a parsed document: ``stage``, ``history[-1].step``, ``stats[*].count``."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

Part = str | int
"""A key, or an index into a list; ``ALL`` means every element."""

ALL = "[*]"
"""Every element of a list, or every value of a mapping. No key of a path can be spelled so."""

MAX_VALUES = 100_000
"""Values after which a look-up stops: a document may claim any shape."""

_SEGMENT = re.compile(r"([^.\[\]]+)((?:\[(?:\*|-?\d{1,9})\])*)")
_INDEX = re.compile(r"\[(\*|-?\d+)\]")


@lru_cache(maxsize=1024)
def parse_path(text: str) -> tuple[Part, ...]:
    """Return the parts of a path.

    Raises:
        ValueError: It is not one; the message says what one looks like.
    """
    parts: list[Part] = []
    for segment in text.split("."):
        match = _SEGMENT.fullmatch(segment)
        if match is None:
            raise ValueError(
                f"{text!r} is not a path; one looks like 'history[-1].step' or 'stats[*].count'"
            )
        parts.append(match[1])
        parts.extend(ALL if i == "*" else int(i) for i in _INDEX.findall(match[2]))
    return tuple(parts)


def find(document: Any, path: tuple[Part, ...]) -> list[Any]:
    """Return every value at ``path``, in document order; none where the shape differs."""
    values = [document]
    for part in path:
        found: list[Any] = []
        for value in values:
            if part == ALL:
                if isinstance(value, dict):
                    found.extend(value.values())
                elif isinstance(value, list):
                    found.extend(value)
            elif isinstance(part, int):
                if isinstance(value, list) and -len(value) <= part < len(value):
                    found.append(value[part])
            elif isinstance(value, dict) and part in value:
                found.append(value[part])
            if len(found) > MAX_VALUES:
                break
        values = found[:MAX_VALUES]
    return values
