"""Keeps the checkpoints: which are ready, what their verdicts are, what is still owed to each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from resume_daemon.checks.integrity import SILENT_CHANGE
from resume_daemon.checks.presence import ROTATED_STUB
from resume_daemon.daemon.keeper import Judged
from resume_daemon.daemon.messages import UnwrittenError
from resume_daemon.daemon.roster import Roster
from resume_daemon.daemon.turns import Plan, age, gives_way
from resume_daemon.daemon.worker import SnapshotJob, VerifyJob
from resume_daemon.errors import CancelledError, ChangedError, ResumeDaemonError, VanishedError
from resume_daemon.findings import Verdict
from resume_daemon.formats.json_document import read_json
from resume_daemon.health import (
    CHECKPOINT_DEGRADED,
    CHECKPOINT_INCOMPLETE,
    CHECKPOINT_UNREADABLE,
    CHECKPOINT_UNSOUND,
    STORAGE_BLOCKED,
    checkpoint_condition,
    storage_condition,
    unreadable_condition,
)
from resume_daemon.layouts.huggingface import TRAINER_STATE
from resume_daemon.layouts.registry import step_of
from resume_daemon.ledger.verdicts import verdict_fields
from resume_daemon.manifest import (
    find_manifest,
    forget_sound_manifest,
    keep_sound_manifest,
    write_manifest,
)
from resume_daemon.references import references_of
from resume_daemon.trainer_log import trainer_log_of
from resume_daemon.watching.settle import Action, is_rotation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from resume_daemon.curriculum.assignment import Assignment
    from resume_daemon.daemon.messages import Snapshotted, Verified
    from resume_daemon.daemon.recorder import Recorder
    from resume_daemon.daemon.roster import Clock
    from resume_daemon.daemon.worker import Job
    from resume_daemon.manifest import Manifest
    from resume_daemon.trainer_log import TrainerLog
    from resume_daemon.verification import Verification
    from resume_daemon.watching.settle import Settings

log = structlog.get_logger()

RETRY_SECONDS = 30.0
"""How soon a checkpoint that could not be read is tried again."""

_KEPT = {Verdict.SOUND, Verdict.DEGRADED, Verdict.UNSOUND}
_PREFIXES = (
    STORAGE_BLOCKED.name,
    *(
        f"{code.name}:"
        for code in (
            CHECKPOINT_UNSOUND,
            CHECKPOINT_DEGRADED,
            CHECKPOINT_INCOMPLETE,
            CHECKPOINT_UNREADABLE,
        )
    ),
)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a checkpoint has no verdict or no snapshot, and when it is tried again (monotonic)."""

    error: ResumeDaemonError
    retry_at: float


class CheckpointKeeper:
    """Brings every checkpoint to a verdict, and every verdict to a snapshot.

    Level, not edge: each ``work`` looks at what is true now and does the next thing, so a crash
    between two things costs nothing but doing the second.

    Args:
        run: The run directory.
        manifests: Where manifests are kept.
        recorder: Where verdicts are recorded.
        settings: How long a checkpoint must be quiet.
        clock: What time it is.
        assign: Returns the curriculum states that belong to a checkpoint's step and time, or None
            while that is not known yet.
    """

    def __init__(
        self,
        run: Path,
        *,
        manifests: Path,
        recorder: Recorder,
        settings: Settings,
        clock: Clock,
        assign: Callable[[str, int, int], Mapping[str, Assignment] | None],
    ) -> None:
        self._run = run
        self._manifests = manifests
        self._recorder = recorder
        self._clock = clock
        self._assign = assign
        self.roster = Roster(run, settings, clock, self._verified)
        self.busy: Job | None = None
        self.unread: dict[str, ResumeDaemonError] = {}
        self._gave_way: set[str] = set()
        self._failed: dict[str, Failure] = {}
        self._trainer_logs: dict[str, TrainerLog | None] = {}

    def rescan(self) -> None:
        """Look at everything, and record what the trainer removed.

        Raises:
            ResumeDaemonError: The run directory is gone or cannot be listed.
            LedgerError: Something could not be recorded; it is found again.
        """
        self.roster.rescan()
        self._record_removed()

    def look(self, names: Iterable[str]) -> None:
        """Look at the checkpoints that something happened to.

        Raises:
            LedgerError: As ``rescan``.
        """
        self.roster.look(names)
        self._record_removed()

    def plan(self) -> Plan:
        """Return what the worker should do next.

        The newest checkpoint first: it is the one that a resume would take.

        Raises:
            LedgerError: That a checkpoint was rotated could not be recorded; it is found again.
        """
        decisions = self.roster.decisions()
        now = self._clock.monotonic()
        ready: list[str] = []
        due: list[float] = []
        for name, decision in decisions.items():
            if self._is_rotated_in_part(name):
                self._record_rotated(name, self.roster.members[name].seen.fingerprint)
            elif decision.action is Action.VERIFY:
                retry = self._retry_at(name)
                (ready.append(name) if now >= retry else due.append(retry))
            elif decision.look_again is not None:
                due.append(decision.look_again)
        snapshot = self._next_snapshot()
        waiting = snapshot is not None or bool(set(decisions) - set(self._failed))
        look_again = min(due, default=None)
        if self.busy is not None:
            newer = set(ready) - set(self._failed)
            give_up = gives_way(self.busy, newer, gave_way=self._gave_way, waiting=waiting)
            return Plan(None, waiting, look_again, give_up)
        if ready:
            newest = max(ready, key=age)
            return Plan(
                VerifyJob(
                    newest,
                    references_of(newest, self._recorder.state, self._manifests, self.manifest),
                ),
                waiting,
                None,
            )
        return Plan(snapshot, waiting, look_again)

    def waiting(self) -> bool:
        """Return whether any checkpoint still waits for a verdict or a snapshot."""
        return (
            self.busy is not None
            or bool(set(self.roster.decisions()) - set(self._failed))
            or self._next_snapshot() is not None
        )

    def on_verified(self, message: Verified) -> None:
        """Record a verdict, unless the checkpoint changed while it was read.

        Raises:
            LedgerError: It could not be recorded; the message may be handed in again.
            OSError: The manifest could not be written; likewise.
        """
        name, result = message.checkpoint, message.result
        self.roster.look([name])
        if isinstance(result, CancelledError):
            self._gave_way.add(name)
            log.debug("gave way to a newer checkpoint", checkpoint=name)
        elif isinstance(result, VanishedError | ChangedError):
            self.roster.again(name)
            self._record_removed()
        elif isinstance(result, ResumeDaemonError):
            self._failed[name] = Failure(result, self._clock.monotonic() + RETRY_SECONDS)
            log.warning("checkpoint cannot be verified", checkpoint=name, reason=str(result))
        elif (member := self.roster.members.get(name)) is None:
            self._record_removed()
        elif member.seen.fingerprint == result.fingerprint:
            self._failed.pop(name, None)
            self.unread.pop(name, None)
            self._gave_way.discard(name)
            self._trainer_logs.pop(name, None)
            if any(finding.code == ROTATED_STUB.id for finding in result.findings):
                self._record_rotated(name, result.fingerprint)
            else:
                self._record_verdict(result)
        self.busy = None

    def on_snapshotted(self, message: Snapshotted) -> None:
        """Record a snapshot.

        Raises:
            LedgerError: It could not be recorded; the message may be handed in again.
        """
        result = message.result
        if isinstance(result, ResumeDaemonError):
            self.roster.look([message.checkpoint])
            if not isinstance(result, VanishedError | ChangedError):
                retry = self._clock.monotonic() + RETRY_SECONDS
                self._failed[message.checkpoint] = Failure(result, retry)
                log.warning("snapshot failed", checkpoint=message.checkpoint, reason=str(result))
        else:
            main = next(iter(result.curriculum.values()), None)
            self._recorder.append(
                (
                    "snapshot",
                    {
                        "checkpoint": result.checkpoint,
                        "step": result.step,
                        "curriculum_step": main.step if main else None,
                        "curriculum_offset": main.offset if main else None,
                        "stage": main.stage if main else None,
                        "fingerprint": message.fingerprint,
                        "files": {name: file.digest for name, file in result.files.items()},
                    },
                )
            )
            self._failed.pop(message.checkpoint, None)
        self.busy = None

    def changed(self) -> dict[str, int]:
        """Return the change time (nanoseconds) of every checkpoint on disk that was judged."""
        known = self._recorder.state.checkpoints
        return {n: m.changed_ns for n, m in self.roster.members.items() if n in known}

    def newest(self) -> tuple[str, int, int] | None:
        """Return name, step and change time (nanoseconds) of the newest whole checkpoint on disk.

        None while a newer one waits for its verdict: what is said of an older one would be
        withdrawn at once.
        """
        known = self._recorder.state.checkpoints
        named = [(step, name) for name in self.roster.members if (step := self._step(name))]
        for step, name in sorted(named, reverse=True):
            if name not in known:
                return None
            if known[name].verdict in _KEPT:
                return name, step, self.roster.members[name].changed_ns
        return None

    @property
    def trainer_log(self) -> TrainerLog | None:
        """What the trainer logged up to the newest checkpoint."""
        newest = self.newest()
        if newest is None:
            return None
        name = newest[0]
        if name not in self._trainer_logs:
            try:
                state = read_json(self._run / name / TRAINER_STATE)
            except ResumeDaemonError:
                state = None
            self._trainer_logs = {name: trainer_log_of(state)}
        return self._trainer_logs[name]

    def judged(self) -> Judged:
        """Return which checkpoints must not, or should not, be resumed from."""
        conditions = [
            condition
            for state in self._recorder.state.checkpoints.values()
            if (
                condition := checkpoint_condition(
                    state.checkpoint, state.verdict, state.why, state.step
                )
            )
        ]
        conditions += [
            unreadable_condition(name, error.reason)
            for name, error in {**self.unread, **self.roster.unreadable}.items()
            if name in self.roster.members or name in self.roster.unreadable
        ]
        conditions += [
            storage_condition(str(failure.error))
            if isinstance(failure.error, UnwrittenError)
            else unreadable_condition(name, str(failure.error))
            for name, failure in self._failed.items()
            if name in self.roster.members
        ]
        return Judged(_PREFIXES, tuple(conditions))

    def _step(self, name: str) -> int | None:
        """Return the step that the last verdict gave, which may lie inside, or else the name's."""
        known = self._recorder.state.checkpoints.get(name)
        return known.step if known is not None and known.step is not None else step_of(name)

    def _retry_at(self, name: str) -> float:
        return self._failed[name].retry_at if name in self._failed else 0.0

    def _verified(self, name: str) -> str | None:
        state = self._recorder.state.checkpoints.get(name)
        return state.fingerprint if state else None

    def _record_verdict(self, result: Verification) -> None:
        name = result.path.name
        digest = None
        if result.manifest is not None:
            known = self._recorder.state.checkpoints.get(name)
            if known and any(finding.code == SILENT_CHANGE.id for finding in result.findings):
                # The good digests stay: a copy that is put back must be told from the damaged one.
                digest = known.manifest
            else:
                was_sound = known is not None and known.verdict == Verdict.SOUND
                if was_sound and result.verdict is not Verdict.SOUND and self.manifest(name):
                    keep_sound_manifest(self._manifests / f"{name}.json")
                digest = write_manifest(self._manifests / f"{name}.json", result.manifest)
                if result.verdict is Verdict.SOUND:
                    forget_sound_manifest(self._manifests / f"{name}.json")
        fields = verdict_fields(result, digest)
        self._recorder.append(("verdict", fields))
        say = log.info if result.verdict is Verdict.SOUND else log.warning
        say(
            "verdict",
            checkpoint=name,
            verdict=result.verdict.value,
            why=fields["why"] or None,
            seconds=round(result.seconds, 2),
        )

    def _record_removed(self) -> None:
        for name, state in list(self._recorder.state.checkpoints.items()):
            there = name in self.roster.members or name in self.roster.unreadable
            if not there and state.verdict != Verdict.ROTATED:
                self._record_rotated(name, None)

    def _record_rotated(self, name: str, fingerprint: str | None) -> None:
        known = self._recorder.state.checkpoints.get(name)
        part = fingerprint is not None
        why = "the trainer removed a part of it" if part else "the trainer removed it"
        self._recorder.append(
            (
                "verdict",
                {
                    "checkpoint": name,
                    "path": str(self._run / name),
                    "layout": known.layout if known else "",
                    "step": self._step(name),
                    "verdict": Verdict.ROTATED.value,
                    "codes": [],
                    "why": why,
                    "manifest": known.manifest if known else None,
                    "fingerprint": fingerprint,
                    "bytes": 0,
                    "seconds": 0.0,
                },
            )
        )
        log.info("rotated", checkpoint=name, why=why)

    def _is_rotated_in_part(self, name: str) -> bool:
        member = self.roster.members[name]
        known = self._recorder.state.checkpoints.get(name)
        if known is None or known.verdict not in _KEPT:
            return False
        quiet = self._clock.monotonic() - member.seen.quiet_since >= self.roster.settings.settle
        if not quiet or member.seen.complete:
            return False
        manifest = self.manifest(name)
        newest = self.roster.newest_step()
        return manifest is not None and is_rotation(
            before=frozenset(file.name for file in manifest.files),
            now=member.names,
            required=member.seen.complete,
            newer=newest is not None and newest > (step_of(name) or 0),
        )

    def manifest(self, name: str) -> Manifest | None:
        """Return the manifest that the last verdict refers to, or None where there is none."""
        known = self._recorder.state.checkpoints.get(name)
        if known is None or known.manifest is None:
            return None
        found = find_manifest(self._manifests / f"{name}.json", known.manifest)
        if found is None:
            log.warning("manifest cannot be read", checkpoint=name)
        return found

    def _next_snapshot(self) -> SnapshotJob | None:
        state = self._recorder.state
        now = self._clock.monotonic()
        for name, known in state.checkpoints.items():
            member = self.roster.members.get(name)
            retry = self._retry_at(name)
            if known.verdict not in _KEPT or member is None or now < retry:
                continue
            snapshot = state.snapshots.get(name)
            if known.fingerprint != member.seen.fingerprint or known.step is None:
                continue
            if snapshot is not None and snapshot.fingerprint == known.fingerprint:
                continue
            assigned = self._assign(name, known.step, member.changed_ns)
            if assigned is not None:
                sound = known.verdict == Verdict.SOUND
                return SnapshotJob(name, known.step, member.seen.fingerprint, assigned, sound)
        return None
