"""The daemon: start, wait, decide, record, stop. Everything slow is in a side task."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections import deque
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import structlog

from resume_daemon import __version__
from resume_daemon.alerting.delivery import Delivery
from resume_daemon.curriculum.snapshot import recover
from resume_daemon.curriculum.versions import VersionStore
from resume_daemon.daemon.checkpoint_keeper import CheckpointKeeper
from resume_daemon.daemon.curriculum_keeper import CurriculumKeeper
from resume_daemon.daemon.curriculum_task import CurriculumTask
from resume_daemon.daemon.index_task import IndexTask
from resume_daemon.daemon.judgement import Judge
from resume_daemon.daemon.messages import (
    AlertClosed,
    Inbox,
    Signalled,
    Snapshotted,
    StatesRead,
    TaskEnded,
    TrackerPolled,
    Verified,
    Wake,
)
from resume_daemon.daemon.recorder import Recorder
from resume_daemon.daemon.roster import Clock
from resume_daemon.daemon.server_watch import ServerWatch
from resume_daemon.daemon.storage import Storage, why
from resume_daemon.daemon.supervision import SideTask, stop_all
from resume_daemon.daemon.tracker_keeper import TrackerKeeper
from resume_daemon.daemon.tracker_task import TrackerTask
from resume_daemon.daemon.watch import Watch
from resume_daemon.daemon.worker import VerifyJob, Worker
from resume_daemon.errors import LedgerError, ResumeDaemonError
from resume_daemon.findings import Severity
from resume_daemon.ledger.ledger import Ledger
from resume_daemon.lock import HeldError, RunLock

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from resume_daemon.daemon.messages import Message
    from resume_daemon.daemon.setup import Setup
    from resume_daemon.notify import Notifier

log = structlog.get_logger()

STOP_SECONDS = 4.0
"""How long side tasks may take to end together; a clean stop takes less than five seconds."""

ONCE_DELIVERY_SECONDS = 15.0
"""How long ``--once`` waits for alerts to be delivered before it leaves them to the next start."""

_BREATH = 0.02
"""Seconds between two rounds at least: a save of 100 GB wakes the loop thousands of times."""

_LONGEST_WAIT = 10.0


class Daemon:
    """One run, watched from outside.

    Args:
        setup: Everything that the configuration settles.
        notifier: Tells the service manager how the daemon is.
        once: Process what is there, and end.
        reload: Reads the configuration again; None where there is none to read.
    """

    def __init__(
        self,
        setup: Setup,
        notifier: Notifier,
        *,
        once: bool = False,
        reload: Callable[[], Setup] | None = None,
    ) -> None:
        self.setup = setup
        self._notifier = notifier
        self._once = once
        self._reload = reload
        self._inbox = Inbox()
        self._deferred: deque[Message] = deque()
        self._stop = False
        self._reload_asked = False
        self._failed: str | None = None
        self._status = ""
        self._next_rescan = 0.0
        self._next_watchdog = 0.0
        self._once_deadline: float | None = None

    def run(self) -> int:
        """Watch until told to stop; return the exit status.

        Raises:
            HeldError: Another daemon watches this run.
            ResumeDaemonError: The start failed; nothing was changed.
        """
        self.setup.state.prepare()
        with RunLock(self.setup.state.lock) as lock:
            self._lock = lock
            self._open()
            try:
                self._start()
                while not self._stop:
                    self._round()
            finally:
                self._end()
        return self._exit_status()

    # Lifecycle

    def _open(self) -> None:
        """Open the ledger, finish what an interruption left, and build the keepers."""
        setup = self.setup
        for done in recover(setup.state.snapshots):
            log.info("recovered", what=done)
        self._ledger = Ledger.open(setup.state.ledger, setup.name)
        host = socket.gethostname()
        self._recorder = Recorder(
            self._ledger,
            run=setup.name,
            host=host,
            sinks=[sink.name for sink in setup.sinks],
            minimum=Severity(setup.settings.alerts.minimum_severity),
        )
        self._storage = Storage(self._recorder, setup.state.path, setup.name, host, time.monotonic)
        versions = VersionStore(setup.state.curriculum)
        clock = Clock(time.monotonic, time.time)
        self._curriculum = CurriculumKeeper(
            versions, self._recorder, setup.settings.curriculum, setup.schemas
        )
        self._checkpoints = CheckpointKeeper(
            setup.run,
            manifests=setup.state.manifests,
            recorder=self._recorder,
            settings=setup.settle(once=self._once),
            clock=clock,
            assign=self._curriculum.assign,
        )
        self._tracker = TrackerKeeper(self._recorder, setup.settings.drift, time.time)
        self._server = ServerWatch(
            setup.settings.trackers.wandb.api,
            self._recorder,
            os.environ,
            lambda: self._inbox.put(Wake()),
        )
        self._judge = Judge(setup.run, self._checkpoints, self._curriculum, self._tracker)
        self._worker = Worker(
            setup.run,
            snapshots=setup.state.snapshots,
            versions=versions,
            configuration=setup.settings.snapshot.configuration_files,
            options=setup.verification,
            put=self._inbox.put,
        )
        self._build_tasks()
        self._delivery = self._build_delivery()

    def _build_tasks(self) -> None:
        setup, put = self.setup, self._inbox.put

        def ended(task: str, error: BaseException | None) -> None:
            put(TaskEnded(task, error))

        self._tasks = [SideTask("verifier", self._worker.body, ended)]
        self._curriculum_task: CurriculumTask | None = None
        self._tracker_task: TrackerTask | None = None
        wake = {}
        if setup.settings.curriculum.enabled:
            self._curriculum_task = CurriculumTask(
                setup.run,
                schemas=setup.schemas,
                patterns=setup.settings.curriculum.files,
                period=lambda: self._watch.rescan_seconds,
                put=put,
            )
            wake["curriculum"] = SideTask("curriculum", self._curriculum_task.body, ended)
        if setup.settings.trackers.wandb.enabled:
            self._tracker_task = TrackerTask(
                setup.run,
                settings=setup.settings.trackers.wandb,
                known=self._tracker.known_segments(),
                began=self._judge.began,
                put=put,
            )
            wake["trackers"] = SideTask("trackers", self._tracker_task.body, ended)
        self._tasks += wake.values()
        if (url := setup.settings.index.url) is not None:
            index = IndexTask(url, setup.name, setup.state.ledger)
            self._tasks.append(SideTask("index", index.body, ended))
        self._watch = Watch(
            setup,
            wake=lambda: put(Wake()),
            curriculum=self._curriculum_task,
            wake_curriculum=wake["curriculum"].stopping.wake if "curriculum" in wake else None,
            tracker=self._tracker_task,
            wake_tracker=wake["trackers"].stopping.wake if "trackers" in wake else None,
        )

    def _build_delivery(self) -> Delivery:
        delivery = Delivery(self.setup.sinks, lambda closed: self._inbox.put(AlertClosed(closed)))
        delivery.start()
        return delivery

    def _start(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        torn = self._ledger.torn
        if torn is not None:
            log.warning("torn end of the ledger set aside", path=str(torn.path), bytes=torn.size)
        self._guard(lambda: self._record_event("start"))
        log.info("watching", run=str(self.setup.run), state=str(self.setup.state.path))
        if self.setup.state.reason:
            log.info("state directory", reason=self.setup.state.reason)
        self._watch.start()
        for task in self._tasks:
            task.start()
        self._guard(self._rescan)
        self._notifier.ready(self._status)

    def _end(self) -> None:
        self._notifier.stopping()
        self._watch.close()
        self._server.stop()
        stuck = stop_all(self._tasks, STOP_SECONDS * 0.75)
        if stuck:
            log.warning("side tasks did not end in time", tasks=stuck)
        self._delivery.stop(STOP_SECONDS * 0.25)
        for message in self._inbox.wait(0):
            if isinstance(message, AlertClosed):
                self._guard(lambda closed=message.closed: self._recorder.close(closed))  # type: ignore[misc]
        self._guard(lambda: self._record_event("stop" if self._failed is None else "failed"))
        self._ledger.close()
        log.info("stopped")

    def _exit_status(self) -> int:
        if self._failed is not None:
            return 1
        if not self._once:
            return 0
        firing = self._recorder.state.firing.values()
        errors = any(each.condition.severity is Severity.ERROR for each in firing)
        return int(errors or self._storage.blocked)

    def _on_signal(self, number: int, _frame: object) -> None:
        if number == signal.SIGHUP:
            self._reload_asked = True
        else:
            self._stop = True
        self._inbox.put(Signalled())

    def _record_event(self, event: str) -> None:
        self._recorder.append(
            (
                "daemon",
                {
                    "event": event,
                    "version": __version__,
                    "pid": os.getpid(),
                    "host": socket.gethostname(),
                },
            )
        )

    # The loop

    def _round(self) -> None:
        messages = self._inbox.wait(self._timeout())
        self._deferred.extend(m for m in messages if not isinstance(m, Wake | Signalled))
        self._supervise(messages)
        if self._stop:
            return
        if self._reload_asked:
            self._reload_asked = False
            self._do_reload()
        if self._storage.may_write():
            self._guard(self._work)
        self._tell_manager()
        self._delivery.submit(self._storage.pending())
        if self._once and self._is_done():
            self._stop = True
            return
        time.sleep(_BREATH)

    def _supervise(self, messages: Sequence[Message]) -> None:
        """Stop where a side task has ended: half a daemon would look like a whole one."""
        for message in messages:
            if isinstance(message, TaskEnded):
                self._failed = f"side task {message.task} ended: {message.error!r}"
        if not self._delivery.alive():
            self._failed = "a side task that sends alerts ended"
        if self._failed is not None:
            log.error("stopping", reason=self._failed)
            self._stop = True

    def _timeout(self) -> float:
        now = time.monotonic()
        due = [self._next_rescan - now, _LONGEST_WAIT]
        if self._due is not None:
            due.append(self._due - now)
        if self._notifier.watchdog_interval is not None:
            due.append(self._next_watchdog - now)
        if (retry := self._storage.retry_at()) is not None:
            due.append(retry - now)
        if self._once_deadline is not None:
            due.append(0.1)
        return max(0.0, min(due))

    _due: float | None = None

    def _work(self) -> None:
        """Do everything that is due. Whatever fails to be recorded is done again later."""
        while self._deferred:
            self._handle(self._deferred[0])
            self._deferred.popleft()
        dirty = self._watch.dirty()
        if time.monotonic() >= self._next_rescan or self._watch.overflowed():
            self._rescan()
        elif dirty:
            self._look(lambda: self._checkpoints.look(dirty))
        job, self._due = self._checkpoints.next_job()
        if job is not None:
            self._checkpoints.busy = job
            self._worker.submit(job)
            if isinstance(job, VerifyJob):
                log.debug("verifying", checkpoint=job.checkpoint)
        self._watch.aim(self._checkpoints.roster.members)
        if self._tracker.view is not None and self._tracker.view.segments:
            self._server.follow(self._tracker.view.segments[-1].run_id)
        self._server.record()
        self._tracker.record_checkpoints(self._checkpoints.changed())
        judged = self._judge.judge()
        flipped = self._recorder.flip(
            judged.conditions, datetime.now(UTC), evaluated=judged.prefixes
        )
        for flip in flipped:
            say = log.warning if flip.state == "firing" else log.info
            say(
                "condition",
                state=flip.state.value,
                key=flip.condition.key,
                message=flip.condition.message,
            )
        for closed in self._recorder.outbox.unsendable([s.name for s in self.setup.sinks]):
            self._recorder.close(closed)

    def _rescan(self) -> None:
        self._next_rescan = time.monotonic() + self._watch.rescan_seconds
        self._beat()
        self._watch.heal()
        self._look(self._checkpoints.rescan)

    def _look(self, look: Callable[[], None]) -> None:
        """Look at checkpoints, unless the run itself is gone: then nothing is said of them."""
        try:
            self._judge.check_run()
            look()
        except LedgerError:
            raise
        except ResumeDaemonError as error:
            self._judge.run_error = error.reason
            log.warning(
                "the run directory cannot be read", run=str(self.setup.run), reason=str(error)
            )
        else:
            self._judge.run_error = None

    def _beat(self) -> None:
        try:
            self._lock.beat()
        except HeldError:
            raise
        except ResumeDaemonError as error:
            log.warning("the lock cannot be touched", reason=str(error))

    def _handle(self, message: Message) -> None:
        match message:
            case Verified():
                self._checkpoints.on_verified(message)
            case Snapshotted():
                self._checkpoints.on_snapshotted(message)
            case StatesRead():
                self._curriculum.on_states(message)
            case TrackerPolled():
                self._tracker.on_polled(message)
            case AlertClosed():
                self._storage.close(message.closed)
            case _:
                pass

    def _guard(self, work: Callable[[], None]) -> None:
        """Do what writes; a full disk or a lost mount blocks the work, and it is tried again."""
        try:
            work()
            recovered = self._storage.recover()
        except (LedgerError, OSError) as error:
            if self._storage.block(error):
                log.warning("records cannot be written; waiting", reason=why(error))
        else:
            if recovered:
                log.info("records are written again")

    def _do_reload(self) -> None:
        if self._reload is None:
            log.info("nothing to reload: started without a configuration file")
            return
        self._notifier.reloading()
        try:
            setup = self._reload()
        except ResumeDaemonError as error:
            log.warning("configuration not reloaded; the old one stays", reason=str(error))
        else:
            kept = self.setup.adopt(setup)
            log.info("configuration reloaded", needs_restart=kept or None)
            self._checkpoints.roster.settings = self.setup.settle(once=False)
            self._curriculum.settings = self.setup.settings.curriculum
            self._tracker.settings = self.setup.settings.drift
            self._worker.options = self.setup.verification
            self._delivery.stop(STOP_SECONDS * 0.25)
            # What the old senders reported is recorded before the new ones are told what is owed.
            self._deferred.extend(self._inbox.wait(0))
            self._guard(self._work)
            self._recorder.configure_sinks(
                [sink.name for sink in self.setup.sinks],
                Severity(self.setup.settings.alerts.minimum_severity),
            )
            self._delivery = self._build_delivery()
        self._notifier.ready(self._status)

    def _tell_manager(self) -> None:
        status = self._judge.status(self._recorder.state)
        if status != self._status:
            self._status = status
            self._notifier.status(status)
        interval = self._notifier.watchdog_interval
        if interval is not None and time.monotonic() >= self._next_watchdog:
            self._notifier.watchdog()
            self._next_watchdog = time.monotonic() + interval

    def _is_done(self) -> bool:
        """Return whether ``--once`` has processed everything that is there, or never will."""
        if not self._storage.blocked:
            if self._deferred or self._checkpoints.waiting() or not self._curriculum.ready:
                return False
            if self._tracker_task is not None and self._tracker.view is None:
                return False
        if not self._storage.pending():
            return True
        if self._once_deadline is None:
            self._once_deadline = time.monotonic() + ONCE_DELIVERY_SECONDS
        return time.monotonic() >= self._once_deadline
