"""The configuration that a process gave W&B, out of its local log.

Source: wandb/proto/wandb_internal.proto, the same from wandb 0.22.3 to 0.31.0: ``Record.config``
(5), ``Record.run`` (17) with its own ``config`` (4);
``ConfigRecord.update`` (1) and ``remove`` (2); ``ConfigItem`` with ``key`` (1), ``nested_key`` (2)
and ``value_json`` (16).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from resume_daemon.trackers.wandb_log import read_log
from resume_daemon.trackers.wandb_records import WireError, walk

if TYPE_CHECKING:
    from pathlib import Path

READ: Final = 4 * 1024 * 1024
"""Bytes of a log that are read: a trainer gives its configuration before it trains."""

MAX_VALUE: Final = 1024 * 1024
"""Bytes of one value."""

_BYTES: Final = 2
_CONFIG, _RUN = (number << 3 | _BYTES for number in (5, 17))
_UPDATE, _REMOVE, _RUN_CONFIG = (number << 3 | _BYTES for number in (1, 2, 4))
_KEY, _NESTED_KEY, _VALUE_JSON = (number << 3 | _BYTES for number in (1, 2, 16))


def read_logged_configuration(log: Path) -> dict[str, Any]:
    """Return the configuration in a ``.wandb`` file, as it was where the part that is read ends.

    Damaged records are passed over.

    Raises:
        VanishedError: The file is not there.
        FormatError: It is no W&B log, or no regular file.
        ResumeDaemonError: It cannot be read.
    """
    found: dict[str, Any] = {}
    offset, more = 0, True
    while more and offset < READ:
        piece = read_log(log, offset)
        for payload, _ in piece.records:
            try:
                _take(payload, found)
            except (WireError, IndexError):
                continue
        more = piece.more and piece.offset > offset
        offset = piece.offset
    return found


def _take(payload: bytes, found: dict[str, Any]) -> None:
    for tag, start, end in walk(payload, 0, len(payload)):
        if tag == _CONFIG:
            _update(payload, start, end, found)
        elif tag == _RUN:
            for inner, first, after in walk(payload, start, end):
                if inner == _RUN_CONFIG:
                    _update(payload, first, after, found)


def _update(data: bytes, start: int, end: int, values: dict[str, Any]) -> None:
    for tag, first, after in walk(data, start, end):
        if tag not in {_UPDATE, _REMOVE}:
            continue
        keys, text = _item(data, first, after)
        if not keys:
            continue
        inner: Any = values
        for key in keys[:-1]:
            inner = inner.setdefault(key, {}) if isinstance(inner, dict) else None
        if not isinstance(inner, dict):
            continue
        if tag == _REMOVE:
            inner.pop(keys[-1], None)
        elif len(text) <= MAX_VALUE:
            try:
                inner[keys[-1]] = json.loads(text)
            except (ValueError, RecursionError):
                continue


def _item(data: bytes, start: int, end: int) -> tuple[list[str], bytes]:
    keys: list[str] = []
    text = b""
    for tag, first, after in walk(data, start, end):
        if tag in {_KEY, _NESTED_KEY}:
            keys.append(data[first:after].decode(errors="replace"))
        elif tag == _VALUE_JSON:
            text = data[first:after]
    return keys, text
