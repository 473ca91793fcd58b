"""Keeps what the policy wants at the destination: what is copied next, what may go, what failed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import structlog

from resume_daemon.backup.codes import BACKUP_FAILED, failed_condition
from resume_daemon.backup.copying import Outcome, Subject
from resume_daemon.backup.inventory import Inventory
from resume_daemon.backup.metrics import metric_for, read_metrics
from resume_daemon.backup.policy import Candidate, Decision, Held, Rules, decide, numbers_of
from resume_daemon.backup.record import checkpoint_of, content_of, identity_of
from resume_daemon.daemon.backup_task import BackupJob, CopyJob, DropJob, LookJob, Place
from resume_daemon.daemon.keeper import Judged
from resume_daemon.errors import CancelledError, ChangedError, ResumeDaemonError, VanishedError
from resume_daemon.findings import Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from resume_daemon.backup.record import Backup
    from resume_daemon.conditions import Condition
    from resume_daemon.daemon.checkpoint_keeper import CheckpointKeeper
    from resume_daemon.daemon.messages import BackupDone
    from resume_daemon.daemon.recorder import Recorder
    from resume_daemon.daemon.roster import Clock

log = structlog.get_logger()

QUIET_SECONDS = 5.0
"""How long nothing is copied after a checkpoint went away or changed meanwhile."""

FIRST_RETRY_SECONDS = 30.0
LONGEST_RETRY_SECONDS = 1800.0
LOOK_SECONDS = 3600.0
"""How often the destination is looked at anew: others may write there too."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What is kept where; nothing is done without a place.

    Attributes:
        place: Where.
        rules: How many of each kind.
        metric: The name of the metric; None for the trainer's own choice.
    """

    place: Place | None
    rules: Rules
    metric: str | None


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known of a checkpoint that was verified: by its manifest's digest, read once.

    The manifest itself is not kept: each may take 10 MB.
    """

    digest: str
    content: str
    saved_ns: int
    metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class _Failure:
    """Why backups do not come about, and when it is tried again (monotonic)."""

    place: Place
    checkpoint: str | None
    error: ResumeDaemonError
    retry_at: float
    pause: float


class BackupKeeper:
    """Has what the policy wants copied, one checkpoint at a time, while nothing new is verified.

    Level, not edge: each time it is asked what is at the destination and in the run now, so that a
    restart, a kill or a destination that was away costs time and no backup.

    Args:
        run: The run directory.
        checkpoints: Their keeper.
        recorder: Where backups are recorded.
        policy: What is kept where.
        clock: What time it is.
    """

    def __init__(
        self,
        run: Path,
        checkpoints: CheckpointKeeper,
        recorder: Recorder,
        policy: Policy,
        clock: Clock,
    ) -> None:
        self.policy = policy
        self.busy: BackupJob | None = None
        self.held = False
        self._run = run
        self._checkpoints = checkpoints
        self._recorder = recorder
        self._clock = clock
        self._inventory: Inventory | None = None
        self._looked_at = 0.0
        self._looked_for: Place | None = None
        self._known: dict[str, _Known] = {}
        self._failure: _Failure | None = None
        self._quiet_until = 0.0

    def next_job(self, *, waiting: bool) -> BackupJob | None:
        """Return what the task should do now, if anything.

        Args:
            waiting: Whether anything waits for its verdict or its snapshot, or is still written.
        """
        self.held = waiting
        place = self.policy.place
        if self._failure is not None and self._failure.place != place:
            self._failure = None
        if place is None or self.busy is not None or waiting or self.retry_at() is not None:
            return None
        if self._is_stale(place, self._clock.monotonic()):
            return LookJob(place)
        decision = self._decide()
        if decision.copy:
            subject = self._subject(decision.copy[0])
            return None if subject is None else CopyJob(place, subject)
        # Whatever could not be copied is not wanted any more.
        self._failure = None
        if decision.drop:
            staying = {each.id for each in self._held()} - set(decision.drop)
            return DropJob(place, decision.drop[0], frozenset(staying))
        return None

    def waiting(self) -> bool:
        """Return whether anything is to be done that has not failed."""
        place = self.policy.place
        if self.busy is not None:
            return True
        if place is None or self._failure is not None or self.retry_at() is not None:
            return False
        return self._is_stale(place, self._clock.monotonic()) or self._decide() != Decision()

    def retry_at(self) -> float | None:
        """Return until when nothing is tried (monotonic); None where anything may be."""
        until = self._quiet_until
        if self._failure is not None:
            until = max(until, self._failure.retry_at)
        return until if until > self._clock.monotonic() else None

    def must_give_up(self) -> bool:
        """Return whether what the task does is not wanted any more: the settings changed."""
        return self.busy is not None and self.busy.place != self.policy.place

    def on_done(self, message: BackupDone) -> None:
        """Record what the task did, and what is at the destination now.

        Raises:
            LedgerError: It could not be recorded; the message may be handed in again.
        """
        job, result = message.job, message.result
        if isinstance(result, ResumeDaemonError):
            self._on_error(job, result)
        elif isinstance(result, Inventory):
            self._looked(job.place, result)
        elif isinstance(result, Outcome):
            self._on_copied(job, result)
        elif isinstance(job, DropJob):
            self._on_dropped(job)
        self.busy = None

    def judged(self) -> Judged:
        """Return whether backups fail."""
        place = self.policy.place
        conditions: tuple[Condition, ...] = ()
        if place is not None and self._failure is not None:
            failure = self._failure
            told = failed_condition(str(place.address), failure.checkpoint, str(failure.error))
            conditions = (told,)
        return Judged((BACKUP_FAILED.name,), conditions)

    def _is_stale(self, place: Place, now: float) -> bool:
        return (
            self._inventory is None
            or self._looked_for is None
            or (self._looked_for.address, self._looked_for.folder) != (place.address, place.folder)
            or now - self._looked_at >= LOOK_SECONDS
        )

    def _looked(self, place: Place, found: Inventory) -> None:
        self._inventory, self._looked_for = found, place
        self._looked_at = self._clock.monotonic()
        if self._failure is not None and self._failure.checkpoint is None:
            self._failure = None
        for identity, reason in found.damaged:
            log.warning("a backup's record cannot be read", backup=identity, reason=reason)

    def _decide(self) -> Decision:
        """Return what the policy wants next, by what is known of the destination."""
        there = self._there()
        numbers = self._numbers()
        found = [self._candidate(name, numbers.get(name)) for name in there]
        decision = decide(self.policy.rules, found, self._held())
        if not decision.copy:
            decision = replace(decision, drop=(*decision.drop, *self._hopeless(there)))
        return decision

    def _held(self) -> list[Held]:
        inventory = self._inventory or Inventory()
        return [self._held_as(backup) for backup in inventory.backups]

    def _hopeless(self, there: list[str]) -> list[str]:
        """Return what is half there of checkpoints that the run has no more.

        A person's backup of a checkpoint that is still there may be under way.
        """
        ours = {identity_of(name, self._known[name].content) for name in there}
        members = self._checkpoints.roster.members
        return [
            each
            for each in (self._inventory or Inventory()).unfinished
            if each not in ours and checkpoint_of(each) not in members
        ]

    def _there(self) -> list[str]:
        """Return the sound checkpoints of the run, as they were verified."""
        members = self._checkpoints.roster.members
        found = []
        for name, state in self._recorder.state.checkpoints.items():
            member = members.get(name)
            if (
                state.verdict == Verdict.SOUND
                and state.manifest is not None
                and member is not None
                and member.seen.fingerprint == state.fingerprint
                and self._know(name, state.manifest)
            ):
                found.append(name)
        self._known = {name: self._known[name] for name in found}
        return found

    def _know(self, name: str, digest: str) -> bool:
        """Read what is to be known of a checkpoint, once; return whether it could be read."""
        known = self._known.get(name)
        if known is not None and known.digest == digest:
            return True
        manifest = self._checkpoints.manifest(name)
        if manifest is None:
            return False
        saved = max((file.mtime_ns for file in manifest.files), default=0)
        metrics = read_metrics(self._run / name)
        self._known[name] = _Known(digest, content_of(manifest), saved, metrics)
        return True

    def _candidate(self, name: str, number: int | None) -> Candidate:
        known = self._known[name]
        return Candidate(
            checkpoint=name,
            content=known.content,
            saved_ns=known.saved_ns,
            number=number,
            metric=metric_for(known.metrics, self.policy.metric, known.saved_ns),
        )

    def _held_as(self, backup: Backup) -> Held:
        return Held(
            id=backup.id,
            checkpoint=backup.checkpoint,
            content=backup.content,
            saved_ns=backup.saved_ns,
            number=backup.number,
            metric=metric_for(backup.metrics, self.policy.metric, backup.saved_ns),
            policy=backup.policy,
        )

    def _subject(self, name: str) -> Subject | None:
        known, state = self._known[name], self._recorder.state.checkpoints[name]
        manifest = self._checkpoints.manifest(name)
        if manifest is None:
            return None
        return Subject(
            path=self._run / name,
            manifest=manifest,
            step=state.step,
            verdict=state.verdict,
            number=self._numbers().get(name),
            metrics=known.metrics,
            policy=True,
        )

    def _numbers(self) -> dict[str, int]:
        sound = self._recorder.state.sound
        return numbers_of({name: state.step for name, state in sound.items()})

    def _on_copied(self, job: BackupJob, outcome: Outcome) -> None:
        backup = outcome.backup
        self._recorder.append(
            (
                "backup",
                {
                    "checkpoint": backup.checkpoint,
                    "step": backup.step,
                    "backup": backup.id,
                    "destination": str(job.place.address),
                    "phase": "verified",
                    "content": backup.content,
                    "bytes": backup.size,
                    "sent": outcome.sent,
                    "seconds": round(outcome.seconds, 3),
                },
            )
        )
        inventory = self._inventory or Inventory()
        others = tuple(each for each in inventory.backups if each.id != backup.id)
        unfinished = tuple(each for each in inventory.unfinished if each != backup.id)
        self._inventory = replace(inventory, backups=(backup, *others), unfinished=unfinished)
        self._failure = None
        log.info(
            "backed up",
            checkpoint=backup.checkpoint,
            backup=backup.id,
            sent=outcome.sent,
            seconds=round(outcome.seconds, 1),
        )

    def _on_dropped(self, job: DropJob) -> None:
        inventory = self._inventory or Inventory()
        dropped = next((each for each in inventory.backups if each.id == job.id), None)
        if dropped is not None:
            self._recorder.append(
                (
                    "backup",
                    {
                        "checkpoint": dropped.checkpoint,
                        "step": dropped.step,
                        "backup": dropped.id,
                        "destination": str(job.place.address),
                        "phase": "dropped",
                        "content": dropped.content,
                        "bytes": dropped.size,
                        "sent": 0,
                        "seconds": 0.0,
                    },
                )
            )
        self._inventory = Inventory(
            tuple(each for each in inventory.backups if each.id != job.id),
            tuple(each for each in inventory.unfinished if each != job.id),
            inventory.damaged,
        )
        self._failure = None
        log.info("dropped a backup", backup=job.id, whole=dropped is not None)

    def _on_error(self, job: BackupJob, error: ResumeDaemonError) -> None:
        name = job.subject.path.name if isinstance(job, CopyJob) else None
        if name is not None:
            self._checkpoints.roster.look([name])
        if isinstance(error, CancelledError):
            return
        if isinstance(error, VanishedError | ChangedError) and name is not None:
            log.info("not backed up: the trainer removed it or wrote to it", checkpoint=name)
            # The next look at the run will say the same, unless its file system is a strange one.
            self._quiet_until = self._clock.monotonic() + QUIET_SECONDS
            return
        pause = FIRST_RETRY_SECONDS
        if self._failure is not None:
            pause = min(2 * self._failure.pause, LONGEST_RETRY_SECONDS)
        self._inventory = None
        self._failure = _Failure(job.place, name, error, self._clock.monotonic() + pause, pause)
        log.warning("backup failed", checkpoint=name, reason=str(error), again_in=pause)
