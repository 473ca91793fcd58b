"""JSON configurations: every value with its line and exact place."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from resume_daemon.errors import FormatError
from resume_daemon.formats.json_document import parse_json
from resume_daemon.parameters.sources.text import Places, read_text
from resume_daemon.parameters.values import Setting

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from resume_daemon.parameters.values import Source

MAX_DEPTH: Final = 32

_OPERATION: Final = "read the configuration"
_WHITE: Final = " \t\r\n"
_DECODER: Final = json.JSONDecoder()


def read_json_settings(path: Path, source: Source) -> list[Setting]:
    """Return the values of a JSON file, in its order; ``scope`` is the dotted path of keys.

    A list of plain values is one setting; tables inside lists are left out.

    Raises:
        FormatError: It is not JSON, beyond the bounds, or no table.
        VanishedError: It is not there.
        ResumeDaemonError: It cannot be read.
    """
    text = read_text(path, _OPERATION)
    # First as a whole: that gives the exact reason of what is wrong with it.
    if not isinstance(parse_json(text.encode(), path), dict):
        raise FormatError(_OPERATION, path, "it is no table of names and values")
    return list(_Walk(text, path, source).table(_skip(text, 0), ()))


class _Walk:
    """Walks a document that is known to be sound; ``end`` is where the last value ended."""

    def __init__(self, text: str, path: Path, source: Source) -> None:
        self._text = text
        self._path = path
        self._source = source
        self._places = Places(text)
        self._end = 0

    def table(self, position: int, at: tuple[str, ...]) -> Iterator[Setting]:
        """Yield the settings of the table that begins at ``position``."""
        text = self._text
        if len(at) > MAX_DEPTH:
            raise FormatError(_OPERATION, self._path, f"it is nested deeper than {MAX_DEPTH}")
        position = _skip(text, position + 1)
        while text[position] != "}":
            key, position = _DECODER.raw_decode(text, position)
            position = _skip(text, _skip(text, position) + 1)
            if text[position] == "{":
                yield from self.table(position, (*at, key))
            else:
                value, self._end = _DECODER.raw_decode(text, position)
                if _is_plain(value):
                    yield Setting(
                        key,
                        value,
                        self._source,
                        line=self._places.line(position),
                        span=self._places.span(position, self._end),
                        scope=".".join(at),
                    )
            position = _skip(text, self._end)
            if text[position] == ",":
                position = _skip(text, position + 1)
        self._end = position + 1


def _is_plain(value: Any) -> bool:
    each = value if isinstance(value, list) else [value]
    return not any(isinstance(one, (list, dict)) for one in each)


def _skip(text: str, position: int) -> int:
    while position < len(text) and text[position] in _WHITE:
        position += 1
    return position
