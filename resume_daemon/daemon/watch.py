"""What is watched, and whom an event wakes. Events only wake; the disk says what is true."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from resume_daemon.errors import ResumeDaemonError
from resume_daemon.layouts.registry import is_checkpoint_name
from resume_daemon.trackers.wandb_discovery import NAMES
from resume_daemon.watching.backend import PollingWatcher, Watcher, make_watcher
from resume_daemon.watching.filesystem import choose_backend, filesystem_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from resume_daemon.daemon.curriculum_task import CurriculumTask
    from resume_daemon.daemon.setup import Setup
    from resume_daemon.daemon.tracker_task import TrackerTask

log = structlog.get_logger()

_TRACKER_NAMES = frozenset(NAMES)
_WATCHED_SEGMENTS = 3
"""Newest segments that are watched; the others are only read at each poll."""


class Watch:
    """Points the watcher at the directories that matter, and sorts its events.

    Args:
        setup: What the daemon runs with.
        wake: Wakes the loop.

    Attributes:
        curriculum: The task that reads the state files and what wakes it, or None.
        tracker: The task that reads the tracker's logs and what wakes it, or None.
    """

    def __init__(self, setup: Setup, wake: Callable[[], None]) -> None:
        self.curriculum: tuple[CurriculumTask, Callable[[], None]] | None = None
        self.tracker: tuple[TrackerTask, Callable[[], None]] | None = None
        self._setup = setup
        self._run = setup.run
        self._wake = wake
        self._lock = threading.Lock()
        self._dirty: set[str] = set()
        self._overflowed = False
        self._targets: tuple[Path, ...] = ()
        self._watcher: Watcher = PollingWatcher()
        self._limited = False

    @property
    def rescan_seconds(self) -> float:
        """How often everything is looked at without any event."""
        watch = self._setup.settings.watch
        polling = isinstance(self._watcher, PollingWatcher) or self._limited
        return min(watch.poll_seconds, watch.rescan_seconds) if polling else watch.rescan_seconds

    def start(self) -> None:
        """Choose how to watch, say so once, and begin."""
        try:
            mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
        except OSError:
            mounts = ""
        choice = choose_backend(
            self._setup.settings.watch.backend, filesystem_of(self._run, mounts), sys.platform
        )
        self._watcher, reason = make_watcher(
            choice,
            on_event=self._on_event,
            on_overflow=self._on_overflow,
            interesting=self._interesting,
        )
        log.info("watching by", backend=type(self._watcher).__name__, reason=reason)
        self.aim(())

    def aim(self, checkpoints: Iterable[str]) -> None:
        """Watch the run, its checkpoints, the curriculum files and the tracker's directories."""
        targets = [self._run, *(self._run / name for name in checkpoints)]
        if self.curriculum is not None:
            targets += [(self._run / file).parent for file in self.curriculum[0].files]
        if self.tracker is not None:
            targets += self.tracker[0].directories
            for segment in self.tracker[0].segments[-_WATCHED_SEGMENTS:]:
                targets += [segment, segment / "logs"]
        wanted = tuple(dict.fromkeys(targets))
        if wanted == self._targets:
            return
        self._set(wanted)

    def heal(self) -> None:
        """Watch the same again: directories may have been removed and made anew."""
        self._set(self._targets)

    def dirty(self) -> set[str]:
        """Return the checkpoints that something happened to since the last call."""
        with self._lock:
            found, self._dirty = self._dirty, set()
        return found

    def overflowed(self) -> bool:
        """Return whether events were lost since the last call."""
        found, self._overflowed = self._overflowed, False
        return found

    def close(self) -> None:
        """Stop watching."""
        self._watcher.close()

    def _set(self, targets: tuple[Path, ...]) -> None:
        try:
            self._watcher.set_targets(targets)
            self._targets = targets
            self._limited = False
        except ResumeDaemonError as error:
            self._targets = targets
            if not self._limited:
                log.warning("not everything can be watched; looking more often", reason=str(error))
            self._limited = True

    def _interesting(self, path: Path) -> bool:
        """Return whether an entry of a watched directory may wake anyone.

        A run may receive thousands of sample files an hour; their names must cost nothing.
        """
        if path.parent != self._run:
            return True
        name = path.name
        return is_checkpoint_name(name) or name in _TRACKER_NAMES or self._is_state(name)

    def _is_state(self, name: str) -> bool:
        return self.curriculum is not None and self.curriculum[0].is_state_name(name)

    def _on_event(self, path: Path) -> None:
        try:
            first = path.relative_to(self._run).parts[:1]
        except ValueError:
            first = ()
        name = first[0] if first else ""
        if name and is_checkpoint_name(name):
            with self._lock:
                news = not self._dirty
                self._dirty.add(name)
            if news:
                self._wake()
        elif self.tracker is not None and (
            name in _TRACKER_NAMES
            or any(path.is_relative_to(each) for each in self.tracker[0].directories)
        ):
            self.tracker[1]()
        elif self.curriculum is not None and name:
            task, wake = self.curriculum
            if path.relative_to(self._run).as_posix() not in task.files:
                task.forget_discovery()
            wake()

    def _on_overflow(self) -> None:
        self._overflowed = True
        self._wake()
        for woken in (self.curriculum, self.tracker):
            if woken is not None:
                woken[1]()
