"""The side task that follows the trainer's logs."""

from __future__ import annotations

import glob
import time
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from resume_daemon.daemon.messages import LogRead, Told
from resume_daemon.errors import ResumeDaemonError
from resume_daemon.log_events.events import Listener
from resume_daemon.log_events.follow import read_on

if TYPE_CHECKING:
    import re
    from collections.abc import Callable, Mapping, Sequence

    from resume_daemon.daemon.messages import Message
    from resume_daemon.daemon.supervision import Stopping
    from resume_daemon.log_events.follow import Position

log = structlog.get_logger()

POLL_SECONDS = 5.0
MOST_FILES = 256
"""A glob that finds more is a mistake; the first ones by name are followed."""


class LogTask:
    """Reads what is new in every file that the globs find.

    Args:
        run: The run directory, from which relative globs start.
        globs: Of the configuration.
        patterns: Expression by event.
        known: Where reading goes on, by path.
        put: Takes the events of one reading.
    """

    def __init__(
        self,
        run: Path,
        *,
        globs: Sequence[str],
        patterns: Mapping[str, re.Pattern[str]],
        known: Mapping[str, Position],
        put: Callable[[Message], None],
    ) -> None:
        self._run = run
        self._globs = globs
        self._patterns = patterns
        self._positions: dict[str, Position] = dict(known)
        self._listeners: dict[str, Listener] = {}
        self._put = put
        self._errors: dict[str, str] = {}
        self._read_once = False

    def body(self, stopping: Stopping) -> None:
        """Read until told to stop; the body of the side task."""
        go_on = True
        while go_on:
            self.read(stopping)
            go_on = stopping.wait(POLL_SECONDS)

    def read(self, stopping: Callable[[], bool]) -> None:
        """Read everything that is new, and tell the loop; the first time also of nothing."""
        told: list[Told] = []
        for path in self._files():
            try:
                told += self._follow(path, stopping)
                self._errors.pop(path, None)
            except ResumeDaemonError as error:
                if self._errors.get(path) != error.reason:
                    self._errors[path] = error.reason
                    log.warning("a trainer's log cannot be read", path=path, reason=error.reason)
        if told or not self._read_once:
            self._read_once = True
            self._put(LogRead(tuple(told)))

    def _files(self) -> list[str]:
        found = {
            path
            for pattern in self._globs
            for path in glob.glob(str(self._run / pattern))  # noqa: PTH207 - absolute ones too
        }
        return sorted(found | self._positions.keys())[:MOST_FILES]

    def _follow(self, path: str, stopping: Callable[[], bool]) -> list[Told]:
        listener = self._listeners.setdefault(path, Listener(self._patterns))
        told: list[Told] = []
        more = True
        while more and not stopping():
            piece = read_on(Path(path), self._positions.get(path))
            if piece is None:
                break
            now = time.monotonic()
            heard = [event for line in piece.lines if (event := listener.hear(line, now))]
            told += [Told(path, event, piece.position) for event in heard]
            self._positions[path] = piece.position
            more = piece.more
        return told
