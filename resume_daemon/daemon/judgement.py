"""Asks every keeper what is wrong, and says in one line how the run is."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from resume_daemon.daemon.keeper import Judged
from resume_daemon.errors import ResumeDaemonError
from resume_daemon.files import read_error
from resume_daemon.health import RUN_UNREADABLE, run_condition
from resume_daemon.report.rows import counts, newest_sound

if TYPE_CHECKING:
    from pathlib import Path

    from resume_daemon.daemon.backup_keeper import BackupKeeper
    from resume_daemon.daemon.checkpoint_keeper import CheckpointKeeper
    from resume_daemon.daemon.curriculum_keeper import CurriculumKeeper
    from resume_daemon.daemon.tracker_keeper import TrackerKeeper
    from resume_daemon.ledger.queries import RunState


class Judge:
    """Collects what holds now.

    Args:
        run: The run directory.
        checkpoints: Their keeper.
        curriculum: Its keeper.
        tracker: Its keeper.
        backups: Their keeper.
    """

    def __init__(
        self,
        run: Path,
        checkpoints: CheckpointKeeper,
        curriculum: CurriculumKeeper,
        tracker: TrackerKeeper,
        backups: BackupKeeper,
    ) -> None:
        self._run = run
        self._checkpoints = checkpoints
        self._curriculum = curriculum
        self._tracker = tracker
        self._backups = backups
        self._identity: tuple[int, int] | None = None
        self._started_ns = time.time_ns()
        self.run_error: str | None = None

    def check_run(self) -> None:
        """Make sure that the run directory is still the one that was there at the start.

        An empty mount point looks like a run whose checkpoints were all rotated.

        Raises:
            ResumeDaemonError: It is gone, unreadable, or another directory.
        """
        try:
            status = self._run.stat()
        except OSError as error:
            raise read_error(error, self._run) from error
        identity = (status.st_dev, status.st_ino)
        if self._identity is None:
            self._identity = identity
        if identity != self._identity:
            raise ResumeDaemonError(
                "watch",
                self._run,
                "another directory stands in its place (an unmounted file system, or a new run)",
                hint="Mount it again, or restart the daemon to watch the new one.",
            )

    def began(self) -> int:
        """Return when the run began, nanoseconds since the epoch, as far as that is known."""
        members = list(self._checkpoints.roster.members.values())
        return min([self._started_ns, *(member.changed_ns for member in members)])

    def judge(self) -> Judged:
        """Return everything that was judged, and what is wrong."""
        prefixes = [RUN_UNREADABLE.name]
        conditions = []
        if self.run_error is not None:
            conditions.append(
                run_condition(f"The run directory {self._run} cannot be read: {self.run_error}.")
            )
            # What cannot be seen is neither better nor worse than it was.
            return Judged(tuple(prefixes), tuple(conditions))
        seam = self._tracker.seam
        resume = None
        if seam is not None:
            resume = (seam.resume_step, self._tracker.segment_started_at(seam.segment))
        for judged in (
            self._checkpoints.judged(),
            self._curriculum.judged(
                newest=self._checkpoints.newest(),
                trainer=self._checkpoints.trainer_log,
                resume=resume,
            ),
            self._tracker.judged(),
            self._backups.judged(),
        ):
            prefixes += judged.prefixes
            conditions += judged.conditions
        return Judged(tuple(prefixes), tuple(conditions))

    def status(self, state: RunState) -> str:
        """Return one line: how many checkpoints, which to resume from, what fires."""
        if self.run_error is not None:
            return f"run directory unreadable: {self.run_error}"
        found = counts(state)
        total = sum(found.values())
        kinds = ", ".join(f"{number} {verdict}" for verdict, number in sorted(found.items()))
        best = newest_sound(state)
        parts = [f"{total} checkpoints ({kinds})" if total else "no checkpoint yet"]
        if best is not None:
            parts.append(f"newest sound {best}")
        if state.firing:
            parts.append(f"{len(state.firing)} conditions firing")
        return "; ".join(parts)
