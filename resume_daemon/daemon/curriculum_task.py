"""The side task that reads the curriculum files the moment they change.

A state file is rewritten in place, and a version that is overwritten before it was read is lost, so
this must not wait for the loop, which may be flushing to a slow disk.
"""

from __future__ import annotations

import math
import time
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from resume_daemon.curriculum.discovery import SUB_DIRECTORY, discover
from resume_daemon.curriculum.state import StateVersion, read_state
from resume_daemon.daemon.messages import StatesRead
from resume_daemon.errors import VanishedError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from resume_daemon.curriculum.schemas import Schema
    from resume_daemon.curriculum.state import StateRead
    from resume_daemon.daemon.messages import Message
    from resume_daemon.daemon.supervision import Stopping

_RETRY_SECONDS = 1.0
"""How soon a file that could not be read whole is tried again."""


class CurriculumTask:
    """Reads every state file when woken, and at least once in each period.

    Args:
        run: The run directory.
        schemas: Those to recognise states by.
        patterns: Configured globs of state files.
        period: Returns the seconds between two readings that need no event; a lost event costs at
            most this.
        put: Takes what was read, when it is not what was read before.
    """

    def __init__(
        self,
        run: Path,
        *,
        schemas: Sequence[Schema],
        patterns: Sequence[str],
        period: Callable[[], float],
        put: Callable[[Message], None],
    ) -> None:
        self._run = run
        self._schemas = schemas
        self._patterns = patterns
        self._period = period
        self._put = put
        self._files: tuple[str, ...] = ()
        self._discovered_at = -math.inf
        self._last: dict[str, object] = {}
        self._told = False
        self._identity: dict[str, tuple[int, int, int]] = {}

    def body(self, stopping: Stopping) -> None:
        """Read until told to stop; the body of the side task."""
        go_on = True
        while go_on:
            go_on = stopping.wait(self._period() if self.read() else _RETRY_SECONDS)

    def read(self) -> bool:
        """Read each file once; return whether all of them were whole."""
        if time.monotonic() - self._discovered_at >= self._period():
            try:
                self._files = discover(self._run, self._schemas, self._patterns).files
            except VanishedError:
                return True  # The loop says that the run is gone.
            self._discovered_at = time.monotonic()
        reads = [read for file in self._files if (read := self._read(file)) is not None]
        if reads or not self._told:
            self._told = True
            self._put(StatesRead(tuple(reads)))
        return all(isinstance(read, StateVersion) for read in reads)

    def forget_discovery(self) -> None:
        """Look for state files anew at the next reading: one may have been created."""
        self._discovered_at = -math.inf

    def is_state_name(self, name: str) -> bool:
        """Return whether an entry of the run directory may be curriculum state, or lead to it."""
        return (
            name == SUB_DIRECTORY
            or any(schema.matches_name(name) for schema in self._schemas)
            or any(fnmatchcase(name, pattern.split("/")[0]) for pattern in self._patterns)
        )

    @property
    def files(self) -> tuple[str, ...]:
        """The state files, as paths in the run."""
        return self._files

    def _read(self, file: str) -> StateRead | None:
        """Return what is in a file, or None where that is known already."""
        path = self._run / file
        try:
            status = path.stat()
            identity = (status.st_ino, status.st_size, status.st_mtime_ns)
        except OSError:
            identity = None
        if identity is not None and self._identity.get(file) == identity:
            return None
        read = read_state(path, run=self._run, schemas=self._schemas)
        if isinstance(read, StateVersion):
            if identity is not None and read.mtime_ns == identity[2]:
                self._identity[file] = identity
            key: object = read.digest
        else:
            self._identity.pop(file, None)
            key = type(read)
        if self._last.get(file) == key:
            return None
        self._last[file] = key
        return read
