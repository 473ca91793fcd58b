"""JSON documents (``trainer_state.json``, indexes, configurations): bounded, with exact reasons."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

from resume_daemon.errors import BeyondBoundsError, FormatError
from resume_daemon.files import read_bounded
from resume_daemon.formats.byte_ranges import HEAD, blank_reason

if TYPE_CHECKING:
    from pathlib import Path

JSON_LIMIT: Final = 128 * 1024 * 1024
"""Bytes above which a document is not read (the log history of a long run reaches 50 MB)."""

MEMORY_LIMIT: Final = 355 * 1024 * 1024
"""Bytes of memory that parsing may need by the estimate below; more is refused beforehand.

Real use stays below 1.4 times the estimate (measured on CPython 3.11 with values of every kind), so
below 512 MiB. A trainer state of 50 MB is estimated at 330 MB.
"""

_VALUE_BYTES: Final = 75
"""Of a value in a list, or of an empty container."""

_PAIR_BYTES: Final = 60
"""What a key takes beyond its value: the place in the object, and the text where it is new."""

_OPERATION: Final = "read the JSON of"
_ASTRAL: Final = re.compile(rb"[\xf0-\xf4]")


def read_json(path: Path, limit: int = JSON_LIMIT) -> Any:
    """Return the value of a JSON file of at most ``limit`` bytes.

    Raises:
        BeyondBoundsError: It is larger than is read.
        FormatError: It is not JSON, or nested too deeply; the reason gives line and column.
        VanishedError: It is not there.
        ResumeDaemonError: It cannot be read.
    """
    return parse_json(read_bounded(path, limit), path)


def parse_json(
    data: bytes, path: Path, *, unique_keys: bool = False, memory: int | None = None
) -> Any:
    """Return the value of a JSON document; ``NaN`` and ``Infinity`` pass, as trainers write them.

    Args:
        data: The whole document, UTF-8.
        path: Where it came from, for messages.
        unique_keys: Refuse an object that has a key twice, of which the last would win.
        memory: Bytes that it may take; ``MEMORY_LIMIT`` unless fewer are left.

    Raises:
        BeyondBoundsError: It would take more than ``memory``.
        FormatError: It is not JSON, or is nested beyond the interpreter's bound (some hundreds).
    """
    if reason := blank_reason(data[:HEAD]):
        raise FormatError(_OPERATION, path, reason)
    if (needed := memory_of(data)) > (limit := MEMORY_LIMIT if memory is None else memory):
        raise BeyondBoundsError(
            _OPERATION,
            path,
            f"its values would take about {needed >> 20} MiB of memory; more than "
            f"{limit >> 20} are not used for it",
        )
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        before = data[: error.start]
        line, column = before.count(b"\n") + 1, error.start - before.rfind(b"\n")
        raise FormatError(
            _OPERATION, path, f"line {line} byte {column} is not UTF-8 ({error.reason})"
        ) from None
    try:
        return json.loads(text, object_pairs_hook=_unique(path) if unique_keys else None)
    except json.JSONDecodeError as error:
        raise FormatError(_OPERATION, path, _reason(error, text)) from None
    except RecursionError:
        # CPython's scanner guards its own C stack and raises this; nothing deeper is entered.
        raise FormatError(_OPERATION, path, "it is nested too deeply") from None
    except ValueError:
        raise FormatError(_OPERATION, path, _long_number(text)) from None


def memory_of(data: bytes) -> int:
    """Return the bytes that parsing a document takes, by the marks that each value needs."""
    marks = data.count(b",") + data.count(b"[") + data.count(b"{")
    values = _VALUE_BYTES * marks + _PAIR_BYTES * data.count(b":")
    # The widest character decides what all of them take (PEP 393).
    width = 4 if _ASTRAL.search(data) else 2 if not data.isascii() else 1
    return len(data) * (1 + width) + max(width * len(data), values)


def _reason(error: json.JSONDecodeError, text: str) -> str:
    where = f"line {error.lineno} column {error.colno}"
    if not text.strip():
        return "it holds nothing but white space"
    if error.msg == "Extra data":
        return f"something follows its value at {where}"
    # An unterminated string is reported at its beginning, everything else where text runs out.
    if error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated string"):
        return f"it is cut short: it ends inside the value at {where}"
    return f"{where}: {error.msg[:1].lower()}{error.msg[1:]}"


def _long_number(text: str) -> str:
    """Return the reason for the one other ``ValueError``: an integer of thousands of digits."""
    found = re.search(r"\d{600,}", text)
    if found is None:
        return "it holds a number that cannot be read"
    line = text.count("\n", 0, found.start()) + 1
    column = found.start() - text.rfind("\n", 0, found.start())
    digits = found.end() - found.start()
    return f"line {line} column {column}: a number of {digits} digits is not read"


def _unique(path: Path) -> Any:
    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(items)
        if len(result) < len(items):
            seen: set[str] = set()
            twice = next(key for key, _ in items if key in seen or seen.add(key))  # type: ignore[func-returns-value]
            raise FormatError(_OPERATION, path, f"the key {twice[:200]!r} stands twice")
        return result

    return pairs
