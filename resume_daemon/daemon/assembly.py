"""Builds the daemon from its setup: the ledger, a keeper per subject, and the side tasks."""

from __future__ import annotations

import os
import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from resume_daemon.curriculum.versions import VersionStore
from resume_daemon.daemon.backup_keeper import BackupKeeper
from resume_daemon.daemon.backup_task import BackupTask
from resume_daemon.daemon.checkpoint_keeper import CheckpointKeeper
from resume_daemon.daemon.curriculum_keeper import CurriculumKeeper
from resume_daemon.daemon.curriculum_task import CurriculumTask
from resume_daemon.daemon.index_task import IndexTask
from resume_daemon.daemon.judgement import Judge
from resume_daemon.daemon.log_keeper import LogKeeper
from resume_daemon.daemon.log_task import LogTask
from resume_daemon.daemon.messages import TaskEnded, Wake
from resume_daemon.daemon.recorder import Recorder
from resume_daemon.daemon.roster import Clock
from resume_daemon.daemon.scrub_keeper import ScrubKeeper
from resume_daemon.daemon.server_watch import ServerWatch
from resume_daemon.daemon.storage import Storage
from resume_daemon.daemon.supervision import SideTask
from resume_daemon.daemon.tracker_keeper import TrackerKeeper
from resume_daemon.daemon.tracker_task import TrackerTask
from resume_daemon.daemon.watch import Watch
from resume_daemon.daemon.worker import Worker
from resume_daemon.findings import Severity
from resume_daemon.ledger.ledger import Ledger
from resume_daemon.log_events.patterns import compiled
from resume_daemon.small_files import SmallFiles

if TYPE_CHECKING:
    from collections.abc import Callable

    from resume_daemon.daemon.messages import Message
    from resume_daemon.daemon.setup import Setup


@dataclass(slots=True)
class Parts:
    """What the loop works with; nothing of it runs before the loop starts it."""

    ledger: Ledger
    recorder: Recorder
    storage: Storage
    checkpoints: CheckpointKeeper
    scrubs: ScrubKeeper
    backups: BackupKeeper
    curriculum: CurriculumKeeper
    tracker: TrackerKeeper
    logs: LogKeeper
    server: ServerWatch
    judge: Judge
    worker: Worker
    copying: BackupTask
    watch: Watch
    tasks: list[SideTask]

    def take_over(self, setup: Setup) -> None:
        """Go on with settings that were changed while the daemon runs."""
        self.checkpoints.roster.settings = setup.settle(once=False)
        self.scrubs.settings = setup.scrubbing(once=False)
        self.backups.policy = setup.backups()
        self.curriculum.settings = setup.settings.curriculum
        self.tracker.settings = setup.settings.drift
        self.worker.options = setup.verification


def assemble(setup: Setup, put: Callable[[Message], None], *, once: bool) -> Parts:
    """Open the ledger and build everything that reads it, writes it or feeds it.

    Args:
        setup: What the daemon runs with.
        put: Leaves a message for the loop.
        once: The daemon only processes what is there.

    Raises:
        LedgerError: The ledger cannot be opened.
    """
    settings = setup.settings
    host = socket.gethostname()
    ledger = Ledger.open(setup.state.ledger, setup.name)
    recorder = Recorder(
        ledger,
        run=setup.name,
        host=host,
        sinks=[sink.name for sink in setup.sinks],
        minimum=Severity(settings.alerts.minimum_severity),
    )
    versions = VersionStore(setup.state.curriculum)
    curriculum = CurriculumKeeper(versions, recorder, settings.curriculum, setup.schemas)
    clock = Clock(time.monotonic, time.time)
    checkpoints = CheckpointKeeper(
        setup.run,
        manifests=setup.state.manifests,
        recorder=recorder,
        settings=setup.settle(once=once),
        clock=clock,
        assign=curriculum.assign,
    )
    scrubs = ScrubKeeper(checkpoints, recorder, setup.scrubbing(once=once), clock)
    backups = BackupKeeper(setup.run, checkpoints, recorder, setup.backups(), clock)
    tracker = TrackerKeeper(recorder, settings.drift, time.time)
    logs = LogKeeper(recorder, enabled=bool(settings.trainer_log.files))
    judge = Judge(setup.run, checkpoints, curriculum, tracker, backups)
    worker = Worker(
        setup.run,
        snapshots=setup.state.snapshots,
        small_files=SmallFiles(setup.state.small_files),
        versions=versions,
        configuration=settings.snapshot.configuration_files,
        options=setup.verification,
        idle=settings.verify.priority == "idle",
        put=put,
    )

    copying = BackupTask(
        idle=settings.verify.priority == "idle", held=lambda: backups.held, put=put
    )

    def wake() -> None:
        put(Wake())

    def task(name: str, body: Callable[..., None]) -> SideTask:
        return SideTask(name, body, lambda ended, error: put(TaskEnded(ended, error)))

    watch = Watch(setup, wake)
    tasks = [task("verifier", worker.body), task("backups", copying.body)]
    if settings.curriculum.enabled:
        reading = CurriculumTask(
            setup.run,
            schemas=setup.schemas,
            patterns=settings.curriculum.files,
            period=lambda: watch.rescan_seconds,
            put=put,
        )
        tasks.append(task("curriculum", reading.body))
        watch.curriculum = (reading, tasks[-1].stopping.wake)
    if settings.trackers.wandb.enabled:
        following = TrackerTask(
            setup.run,
            settings=settings.trackers.wandb,
            known=tracker.known_segments(),
            began=judge.began,
            put=put,
        )
        tasks.append(task("trackers", following.body))
        watch.tracker = (following, tasks[-1].stopping.wake)
    if settings.trainer_log.files:
        listening = LogTask(
            setup.run,
            globs=settings.trainer_log.files,
            patterns=compiled(settings.trainer_log.patterns),
            known=logs.known(),
            put=put,
        )
        tasks.append(task("trainer-log", listening.body))
    if settings.index.url is not None:
        index = IndexTask(settings.index.url, setup.name, setup.state.ledger)
        tasks.append(task("index", index.body))
    return Parts(
        ledger=ledger,
        recorder=recorder,
        storage=Storage(recorder, setup.state.path, setup.name, host, time.monotonic),
        checkpoints=checkpoints,
        scrubs=scrubs,
        backups=backups,
        curriculum=curriculum,
        tracker=tracker,
        logs=logs,
        server=ServerWatch(settings.trackers.wandb.api, recorder, os.environ, wake),
        judge=judge,
        worker=worker,
        copying=copying,
        watch=watch,
        tasks=tasks,
    )
