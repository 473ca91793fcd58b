"""Lines in, events out. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from resume_daemon.log_events.patterns import TRACEBACK

if TYPE_CHECKING:
    from collections.abc import Mapping

LONGEST_LINE = 2000
"""Characters of a line that are looked at: a progress bar or a printed tensor may have millions."""

TOLD = 300
"""Characters of a line that are kept with an event."""

_TRACEBACK_LINES = 200
_QUIET_SECONDS = 600.0
"""For so long a line that differs from one that was told only in its numbers is counted, not told:
each of 64 ranks says the same."""

_BEGINS = "Traceback (most recent call last):"
_COLOUR = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_NUMBERS = re.compile(r"\d+|0x[0-9a-fA-F]+")
_EXCEPTION = re.compile(
    r"^(\[?\w*\]?:? ?)?[A-Za-z_][\w.]*(Error|Exception|Interrupt|Exit|Warning)\b"
)


@dataclass(frozen=True, slots=True)
class LogEvent:
    """Something that a trainer's log tells.

    Attributes:
        event: Which pattern it matched, or ``traceback``.
        line: The line, without colours, cut at ``TOLD`` characters.
        repeated: Lines like it, but for their numbers, that were passed over before it.
    """

    event: str
    line: str
    repeated: int = 0


@dataclass(frozen=True, slots=True)
class _Heard:
    at: float
    passed_over: int = 0


class Listener:
    """Hears the lines of one file in their order.

    Args:
        patterns: Expression by event.
    """

    def __init__(self, patterns: Mapping[str, re.Pattern[str]]) -> None:
        self._patterns = patterns
        self._in_traceback = 0
        self._heard: dict[tuple[str, str], _Heard] = {}

    def hear(self, line: str, now: float) -> LogEvent | None:
        """Return what a line tells.

        Args:
            line: Without its end; of a progress bar, what stands after its last carriage return.
            now: Seconds, of any clock that never goes back.
        """
        line = _COLOUR.sub("", line[:LONGEST_LINE]).rstrip()
        found = self._told_by(line)
        if found is None:
            return None
        key = (found, _NUMBERS.sub("", line))
        before = self._heard.get(key)
        if before is not None and now - before.at < _QUIET_SECONDS:
            self._heard[key] = replace(before, passed_over=before.passed_over + 1)
            return None
        if len(self._heard) > LONGEST_LINE:
            self._heard.clear()
        self._heard[key] = _Heard(now)
        return LogEvent(found, line[:TOLD], before.passed_over if before is not None else 0)

    def _told_by(self, line: str) -> str | None:
        if _BEGINS in line:
            self._in_traceback = _TRACEBACK_LINES
            return None
        ends = self._in_traceback and _EXCEPTION.match(line) is not None
        self._in_traceback = 0 if ends else max(0, self._in_traceback - 1)
        for event, pattern in self._patterns.items():
            if pattern.search(line):
                return event
        return TRACEBACK if ends else None
