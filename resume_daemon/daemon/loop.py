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
from resume_daemon.daemon.assembly import assemble
from resume_daemon.daemon.backup_task import CopyJob
from resume_daemon.daemon.messages import (
    AlertClosed,
    BackupDone,
    Inbox,
    LogRead,
    Scrubbed,
    Signalled,
    Snapshotted,
    StatesRead,
    TaskEnded,
    TrackerPolled,
    Verified,
    Wake,
)
from resume_daemon.daemon.storage import why
from resume_daemon.daemon.supervision import stop_all
from resume_daemon.daemon.worker import ScrubJob, VerifyJob
from resume_daemon.errors import LedgerError, ResumeDaemonError
from resume_daemon.findings import Severity
from resume_daemon.lock import HeldError, RunLock
from resume_daemon.repair.engine import recover_repairs

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

_MOST_DEFERRED = 256
"""Curriculum versions that are held in memory while nothing can be written."""


class Daemon:
    """One run, watched from outside.

    Args:
        setup: Everything that the configuration settles.
        notifier: Tells the service manager how the daemon is.
        once: Process what is there, and end.
        reload: Reads the configuration again; None where there is none to read.

    Attributes:
        stuck: Side tasks that did not end when told to, in a read that never returns, say. Their
            threads would keep the interpreter from ending.
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
        self._introduced = False
        self.stuck: list[str] = []
        self._status = ""
        self._next_rescan = 0.0
        self._due: float | None = None
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
        """Finish what an interruption left, and build everything; nothing runs yet."""
        for done in recover(self.setup.state.snapshots):
            log.info("recovered", what=done)
        for done in recover_repairs(self.setup.state, self.setup.name):
            log.warning("recovered", what=done)
        self._parts = assemble(self.setup, self._inbox.put, once=self._once)
        self._delivery = self._build_delivery()

    def _build_delivery(self) -> Delivery:
        delivery = Delivery(self.setup.sinks, lambda closed: self._inbox.put(AlertClosed(closed)))
        delivery.start()
        return delivery

    def _start(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        torn = self._parts.ledger.torn
        if torn is not None:
            log.warning("torn end of the ledger set aside", path=str(torn.path), bytes=torn.size)
        log.info("watching", run=str(self.setup.run), state=str(self.setup.state.path))
        if self.setup.state.reason:
            log.info("state directory", reason=self.setup.state.reason)
        self._parts.watch.start()
        # The first look says when the run began, and so which of W&B's logs can be its own.
        self._guard(self._work)
        for task in self._parts.tasks:
            task.start()
        self._notifier.ready(self._status)

    def _end(self) -> None:
        self._notifier.stopping()
        self._parts.watch.close()
        self._parts.server.stop()
        self.stuck = stop_all(self._parts.tasks, STOP_SECONDS * 0.75)
        if self.stuck:
            log.warning("side tasks did not end in time", tasks=self.stuck)
        self._delivery.stop(STOP_SECONDS * 0.25)
        for message in self._inbox.wait(0):
            if isinstance(message, AlertClosed):
                self._guard(lambda closed=message.closed: self._parts.recorder.close(closed))  # type: ignore[misc]
        self._guard(lambda: self._record_event("stop" if self._failed is None else "failed"))
        self._parts.ledger.close()
        log.info("stopped")

    def _exit_status(self) -> int:
        if self._failed is not None:
            return 1
        if not self._once:
            return 0
        firing = self._parts.recorder.state.firing.values()
        errors = any(each.condition.severity is Severity.ERROR for each in firing)
        return int(errors or self._parts.storage.blocked)

    def _on_signal(self, number: int, _frame: object) -> None:
        if number == signal.SIGHUP:
            self._reload_asked = True
        else:
            self._stop = True
        self._inbox.put(Signalled())

    def _record_event(self, event: str) -> None:
        self._parts.recorder.append(
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
        self._bound_deferred()
        self._supervise(messages)
        if self._stop:
            return
        if self._reload_asked:
            self._reload_asked = False
            self._do_reload()
        if self._parts.storage.may_write():
            self._guard(self._work)
        self._tell_manager()
        self._delivery.submit(self._parts.storage.pending())
        if self._once and self._is_done():
            self._stop = True
            return
        time.sleep(_BREATH)

    def _bound_deferred(self) -> None:
        """Drop the oldest curriculum versions that wait for room on the disk, beyond a bound."""
        waiting = [m for m in self._deferred if isinstance(m, StatesRead)]
        for message in waiting[:-_MOST_DEFERRED]:
            self._deferred.remove(message)
            log.warning("a curriculum version is lost: records cannot be written")

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
        if (retry := self._parts.storage.retry_at()) is not None:
            due.append(retry - now)
        if (again := self._parts.backups.retry_at()) is not None:
            due.append(again - now)
        if self._once_deadline is not None:
            due.append(0.1)
        return max(0.0, min(due))

    def _work(self) -> None:
        """Do everything that is due. Whatever fails to be recorded is done again later."""
        if not self._introduced:
            self._record_event("start")
            self._introduced = True
        while self._deferred:
            self._handle(self._deferred[0])
            self._deferred.popleft()
        dirty = self._parts.watch.dirty()
        if time.monotonic() >= self._next_rescan or self._parts.watch.overflowed():
            self._rescan()
        elif dirty:
            self._look(lambda: self._parts.checkpoints.look(dirty))
        self._give_work()
        self._parts.watch.aim(self._parts.checkpoints.roster.directories())
        if self._parts.tracker.view is not None and self._parts.tracker.view.segments:
            self._parts.server.follow(self._parts.tracker.view.segments[-1].run_id)
        self._parts.server.record()
        self._parts.tracker.record_checkpoints(self._parts.checkpoints.changed())
        judged = self._parts.judge.judge()
        flipped = self._parts.recorder.flip(
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
        for closed in self._parts.recorder.outbox.unsendable([s.name for s in self.setup.sinks]):
            self._parts.recorder.close(closed)

    def _give_work(self) -> None:
        """Let the worker begin what is next, or end what is less urgent than what waits."""
        checkpoints, scrubs = self._parts.checkpoints, self._parts.scrubs
        plan = checkpoints.plan()
        self._due = plan.look_again
        scrubbing = isinstance(checkpoints.busy, ScrubJob)
        if plan.give_up or (scrubbing and not scrubs.settings.enabled):
            self._parts.worker.give_up()
        # One thing at a time is read: what is new first, then backups, then what is known.
        reading = checkpoints.busy is not None and not scrubbing
        copying = self._give_copying(waiting=plan.waiting or reading)
        if copying and scrubbing:
            self._parts.worker.give_up()
        if checkpoints.busy is not None:
            return
        job = plan.job or scrubs.next_job(waiting=plan.waiting or copying)
        if job is not None:
            checkpoints.busy = job
            self._parts.worker.submit(job)
            if isinstance(job, VerifyJob | ScrubJob):
                log.debug("reading", checkpoint=job.checkpoint, job=type(job).__name__)

    def _give_copying(self, *, waiting: bool) -> bool:
        """Let the backup task begin what is next; return whether it copies."""
        backups = self._parts.backups
        if backups.must_give_up():
            self._parts.copying.give_up()
        job = backups.next_job(waiting=waiting)
        if job is not None:
            backups.busy = job
            self._parts.copying.submit(job)
        return isinstance(backups.busy, CopyJob)

    def _rescan(self) -> None:
        self._next_rescan = time.monotonic() + self._parts.watch.rescan_seconds
        self._beat()
        self._parts.watch.heal()
        self._look(self._parts.checkpoints.rescan)

    def _look(self, look: Callable[[], None]) -> None:
        """Look at checkpoints, unless the run itself is gone: then nothing is said of them."""
        try:
            self._parts.judge.check_run()
            look()
        except LedgerError:
            raise
        except ResumeDaemonError as error:
            self._parts.judge.run_error = error.reason
            log.warning(
                "the run directory cannot be read", run=str(self.setup.run), reason=str(error)
            )
        else:
            self._parts.judge.run_error = None

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
                self._parts.checkpoints.on_verified(message)
            case Scrubbed():
                self._parts.scrubs.on_scrubbed(message)
            case Snapshotted():
                self._parts.checkpoints.on_snapshotted(message)
            case BackupDone():
                self._parts.backups.on_done(message)
            case StatesRead():
                self._parts.curriculum.on_states(message)
            case TrackerPolled():
                self._parts.tracker.on_polled(message)
            case LogRead():
                self._parts.logs.on_read(message)
            case AlertClosed():
                self._parts.storage.close(message.closed)
            case _:
                pass

    def _guard(self, work: Callable[[], None]) -> None:
        """Do what writes; a full disk or a lost mount blocks the work, and it is tried again."""
        try:
            work()
            recovered = self._parts.storage.recover()
        except (LedgerError, OSError) as error:
            if self._parts.storage.block(error):
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
            self._parts.take_over(self.setup)
            self._delivery.stop(STOP_SECONDS * 0.25)
            # What the old senders reported is recorded before the new ones are told what is owed.
            self._deferred.extend(self._inbox.wait(0))
            self._guard(self._work)
            self._parts.recorder.configure_sinks(
                [sink.name for sink in self.setup.sinks],
                Severity(self.setup.settings.alerts.minimum_severity),
            )
            self._delivery = self._build_delivery()
        self._notifier.ready(self._status)

    def _tell_manager(self) -> None:
        status = self._parts.judge.status(self._parts.recorder.state)
        if status != self._status:
            self._status = status
            self._notifier.status(status)
        interval = self._notifier.watchdog_interval
        if interval is not None and time.monotonic() >= self._next_watchdog:
            self._notifier.watchdog()
            self._next_watchdog = time.monotonic() + interval

    def _is_done(self) -> bool:
        """Return whether ``--once`` has processed everything that is there, or never will."""
        if not self._parts.storage.blocked:
            if (
                self._deferred
                or self._parts.checkpoints.waiting()
                or not self._parts.curriculum.ready
                or not self._parts.logs.ready
                or self._parts.backups.waiting()
            ):
                return False
            if self.setup.settings.trackers.wandb.enabled and self._parts.tracker.view is None:
                return False
        if not self._parts.storage.pending():
            return True
        if self._once_deadline is None:
            self._once_deadline = time.monotonic() + ONCE_DELIVERY_SECONDS
        return time.monotonic() >= self._once_deadline
