"""Tailing ``logs/debug-internal.log`` of a W&B segment: rows that W&B dropped, lines it accepted.

W&B writes this log at once and unbuffered, also while the ``.wandb`` file lags behind and when the
trainer is killed (measured with wandb 0.28.0 and 0.31.0; 0.22.3 lacks the file stream lines). It is
the only local trace of rows that were dropped because the trainer passed a smaller ``step=`` than
W&B's own. But its texts are no interface: what is missing or different here proves nothing.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from resume_daemon.errors import VanishedError
from resume_daemon.files import open_regular, read_error

if TYPE_CHECKING:
    from pathlib import Path

READ_LIMIT = 4 << 20
"""Bytes that one poll reads at most; the next poll goes on from there."""

_DROPPED = "handler: ignoring partial history record"
_SENDING = "filestream: sending request"
_SENT = "filestream: request sent"


@dataclass(frozen=True, slots=True)
class DroppedRow:
    """A row that W&B ignored: the trainer logged ``step`` when W&B was at ``current`` already."""

    step: int
    current: int
    at: datetime | None


@dataclass(frozen=True, slots=True)
class DebugPosition:
    """How far a log was read, and what is known up to there.

    Attributes:
        offset: Bytes that were read.
        asked: Last history line of a request that was not answered yet, or None.
        accepted_lines: History lines that the server has of this run, or None: not known.
        resumed: Whether the server had history of this run before this segment.
    """

    offset: int = 0
    asked: int | None = None
    accepted_lines: int | None = None
    resumed: bool = False


START = DebugPosition()


@dataclass(frozen=True, slots=True)
class DebugPoll:
    """What one poll found: the rows dropped since the last, and where to go on."""

    position: DebugPosition
    dropped: tuple[DroppedRow, ...]


def poll(path: Path, position: DebugPosition = START) -> DebugPoll:
    """Read what was added to a debug log.

    A log that is not there, or cannot be read as lines of JSON, tells nothing and is no error. One
    that is shorter than before was replaced, and is read from its start.

    Args:
        path: ``<segment>/logs/debug-internal.log``.
        position: That of the last poll of the same file.

    Raises:
        ResumeDaemonError: The file is there but cannot be read.
    """
    try:
        with open_regular(path) as fd:
            if os.fstat(fd).st_size < position.offset:
                position = START
            content = os.pread(fd, READ_LIMIT, position.offset)
    except VanishedError:
        return DebugPoll(position, ())
    except OSError as error:
        raise read_error(error, path) from error
    end = content.rfind(b"\n") + 1
    if not end and len(content) == READ_LIMIT:
        end = READ_LIMIT  # One line of 4 MiB is none of W&B's: give it up, rather than stand still.
    dropped: list[DroppedRow] = []
    for line in content[:end].split(b"\n"):
        position = _take(line, position, dropped)
    return DebugPoll(replace(position, offset=position.offset + end), tuple(dropped))


def _take(line: bytes, position: DebugPosition, dropped: list[DroppedRow]) -> DebugPosition:
    """Take one line in: return what is known after it, and add to ``dropped``."""
    try:
        entry: Any = json.loads(line) if line else None
    except (ValueError, RecursionError):
        return position
    if not isinstance(entry, dict):
        return position
    match entry.get("msg"):
        case text if text == _DROPPED:
            step, current = entry.get("step"), entry.get("current")
            if type(step) is int and type(current) is int:
                dropped.append(DroppedRow(step, current, _time(entry.get("time"))))
        case text if text == _SENDING:
            first, lines = entry.get("history_offset"), entry.get("history_lines")
            if type(first) is int and type(lines) is int:
                never = position.asked is None and position.accepted_lines is None
                # The first request of a segment starts where the server's history ends.
                resumed = first > 0 if never else position.resumed
                return replace(position, asked=first + lines, resumed=resumed)
        case text if text == _SENT:
            ok = str(entry.get("status", "")).startswith("200")
            accepted = position.asked if ok and position.asked is not None else None
            known = position.accepted_lines if accepted is None else accepted
            return replace(position, asked=None, accepted_lines=known)
    return position


def _time(value: Any) -> datetime | None:
    """Return W&B's time, which has nanoseconds, to the microsecond."""
    try:
        return datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
