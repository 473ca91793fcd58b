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
        curriculum: Reads the state files, or None where that is switched off.
        wake_curriculum: Wakes it.
        tracker: Reads the tracker's logs, or None.
        wake_tracker: Wakes it.
    """

    def __init__(
        self,
        setup: Setup,
        *,
        wake: Callable[[], None],
        curriculum: CurriculumTask | None,
        wake_curriculum: Callable[[], None] | None,
        tracker: TrackerTask | None,
        wake_tracker: Callable[[], None] | None,
    ) -> None:
        self._setup = setup
        self._run = setup.run
        self._wake = wake
        self._curriculum = curriculum
        self._wake_curriculum = wake_curriculum
        self._tracker = tracker
        self._wake_tracker = wake_tracker
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
        if self._curriculum is not None:
            targets += [(self._run / file).parent for file in self._curriculum.files]
        if self._tracker is not None:
            targets += self._tracker.directories
            for segment in self._tracker.segments[-_WATCHED_SEGMENTS:]:
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
        return self._curriculum is not None and self._curriculum.is_state_name(name)

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
        elif self._wake_tracker is not None and (
            name in _TRACKER_NAMES or any(path.is_relative_to(d) for d in self._tracked())
        ):
            self._wake_tracker()
        elif self._curriculum is not None and self._wake_curriculum is not None and name:
            if path.relative_to(self._run).as_posix() not in self._curriculum.files:
                self._curriculum.forget_discovery()
            self._wake_curriculum()

    def _tracked(self) -> tuple[Path, ...]:
        return self._tracker.directories if self._tracker is not None else ()

    def _on_overflow(self) -> None:
        self._overflowed = True
        self._wake()
        for wake in (self._wake_curriculum, self._wake_tracker):
            if wake is not None:
                wake()
