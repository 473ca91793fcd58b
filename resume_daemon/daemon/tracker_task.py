"""The side task that reads the tracker's logs: segments found, rows followed, drops counted."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from resume_daemon.daemon.messages import TrackerPolled
from resume_daemon.errors import ResumeDaemonError, VanishedError
from resume_daemon.integrations.step_pairs import read_pairs
from resume_daemon.steps import StepPair
from resume_daemon.trackers import wandb_debug_log, wandb_local
from resume_daemon.trackers.attribution import belonging
from resume_daemon.trackers.view import Dropped, TrackerView
from resume_daemon.trackers.wandb_discovery import (
    candidate_segments,
    find_wandb_directories,
    segment_run_id,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from resume_daemon.config.settings import Wandb
    from resume_daemon.daemon.messages import Message
    from resume_daemon.daemon.supervision import Stopping
    from resume_daemon.integrations.step_pairs import TrainerPair
    from resume_daemon.trackers.wandb_debug_log import DebugPosition
    from resume_daemon.trackers.wandb_discovery import Found
    from resume_daemon.trackers.wandb_local import SegmentState

log = structlog.get_logger()

DISCOVERY_SECONDS = 30.0
"""How often logs are looked for where none is known; a walk through /proc is not free."""

_NO_PROCESSES = Path(os.devnull)

PIECE = 1024 * 1024
"""Bytes of a log per reading, between two looks whether to stop."""


class TrackerTask:
    """Follows every segment of the run's W&B logs.

    Args:
        run: The run directory.
        settings: What the configuration says of W&B.
        known: Segment states that the ledger keeps, by segment: reading goes on from their offsets.
        began: Returns when the run began, nanoseconds since the epoch; older logs are not its own.
        put: Takes each view that differs from the last.
    """

    def __init__(
        self,
        run: Path,
        *,
        settings: Wandb,
        known: Mapping[str, SegmentState],
        began: Callable[[], int],
        put: Callable[[Message], None],
    ) -> None:
        self._run = run
        self._settings = settings
        self._began = began
        self._put = put
        self._keys = (settings.step_key,) if settings.step_key else wandb_local.STEP_KEYS
        self._states: dict[str, SegmentState] = dict(known)
        self._debug: dict[str, DebugPosition] = {}
        self._dropped: dict[str, Dropped] = {}
        self._found: list[Found] = []
        self._segments: list[Path] = []
        self._candidates: list[tuple[Path, str | None]] = []
        self._directories: tuple[Path, ...] = ()
        self._undecided = ""
        self._looked = -DISCOVERY_SECONDS
        self._last: TrackerView | None = None
        self._errors: dict[str, str] = {}

    @property
    def segments(self) -> tuple[Path, ...]:
        """Directories of the segments, for the watcher."""
        return tuple(self._segments)

    @property
    def directories(self) -> tuple[Path, ...]:
        """W&B's own directories, for the watcher."""
        return self._directories

    def body(self, stopping: Stopping) -> None:
        """Read until told to stop; the body of the side task."""
        go_on = True
        while go_on:
            self.read(stopping)
            go_on = stopping.wait(self._settings.poll_seconds)

    def read(self, stopping: Callable[[], bool]) -> None:
        """Read everything that is new, and tell the loop."""
        self._discover()
        pairs: list[StepPair] = []
        for segment in self._segments:
            try:
                pairs += self._follow(segment, stopping)
                self._errors.pop(segment.name, None)
            except VanishedError:
                continue
            except ResumeDaemonError as error:
                if self._errors.get(segment.name) != error.reason:
                    self._errors[segment.name] = error.reason
                    log.warning("W&B log cannot be read", segment=str(segment), reason=error.reason)
        names = [segment.name for segment in self._segments]
        view = TrackerView(
            directories=self._directories,
            segments=tuple(self._states[name] for name in names if name in self._states),
            paths={segment.name: segment for segment in self._segments},
            pairs=tuple(pairs),
            told=tuple(_told(pair) for pair in read_pairs(self._run) if pair.segment in names),
            dropped=dict(self._dropped),
            undecided=self._undecided,
        )
        if view != self._last:
            self._last = view
            self._put(TrackerPolled(view))

    def _discover(self) -> None:
        """Find W&B's directories now and then, and the segments in them every time."""
        now = time.monotonic()
        due = now - self._looked >= DISCOVERY_SECONDS
        if due or not self._found:
            # W&B makes its directory when the trainer starts. A look at the usual places costs
            # nothing; a walk through the processes does, and is taken now and then only.
            self._looked = now if due else self._looked
            proc = Path("/proc") if due else _NO_PROCESSES
            found = find_wandb_directories(
                self._run, self._settings.directory, os.environ, proc=proc
            )
            self._found = found[:1]
            self._directories = tuple(each.path for each in self._found)
        candidates = [
            segment
            for each in self._found
            for segment in candidate_segments(
                each, self._run, self._began(), run_id=self._settings.run_id
            )
        ]
        # Whose logs they are is read from their beginnings, so not at every poll; where it was not
        # certain, a log that has grown may say it later.
        known = [(segment, segment_run_id(segment)) for segment in candidates]
        if known == self._candidates and not (due and self._undecided):
            return
        self._candidates = known
        self._segments, undecided = belonging(candidates, self._run)
        if undecided and undecided != self._undecided:
            log.warning("W&B run is uncertain", reason=undecided)
        self._undecided = undecided

    def _follow(self, segment: Path, stopping: Callable[[], bool]) -> list[StepPair]:
        pairs: list[StepPair] = []
        more = True
        while more and not stopping():
            polled = wandb_local.poll(
                segment, self._states.get(segment.name), self._keys, limit=PIECE
            )
            if polled is None:
                break
            if polled.restarted:
                pairs.clear()
            self._states[segment.name] = polled.state
            pairs += polled.pairs
            more = polled.more
        self._follow_debug_log(segment)
        return pairs

    def _follow_debug_log(self, segment: Path) -> None:
        position = self._debug.get(segment.name, wandb_debug_log.START)
        polled = wandb_debug_log.poll(segment / "logs" / "debug-internal.log", position)
        self._debug[segment.name] = polled.position
        if polled.dropped:
            first, last = polled.dropped[0], polled.dropped[-1]
            before = self._dropped.get(segment.name)
            self._dropped[segment.name] = Dropped(
                count=(before.count if before else 0) + len(polled.dropped),
                first=before.first if before else (first.step, first.current),
                last=(last.step, last.current),
            )


def _told(pair: TrainerPair) -> StepPair:
    return StepPair(
        tracker="wandb",
        run_id=pair.run_id,
        segment=pair.segment,
        tracker_step=pair.tracker_step,
        trainer_step=pair.trainer_step,
        offset=0,
    )
