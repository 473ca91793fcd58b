"""Keeps the curriculum: every version seen, which one belongs to a checkpoint, what is wrong."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import structlog

from resume_daemon.curriculum.assignment import assign_all
from resume_daemon.curriculum.checks import (
    ahead_at_resume,
    assignment_notes,
    history_damaged,
    history_lost,
    unreadable,
)
from resume_daemon.curriculum.codes import AHEAD, BEHIND, CODES
from resume_daemon.curriculum.state import StateVersion
from resume_daemon.daemon.keeper import Judged
from resume_daemon.errors import ResumeDaemonError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from resume_daemon.conditions import Condition
    from resume_daemon.config.settings import Curriculum
    from resume_daemon.curriculum.assignment import Assignment
    from resume_daemon.curriculum.checks import Noted
    from resume_daemon.curriculum.schemas import Schema
    from resume_daemon.curriculum.state import StateRead
    from resume_daemon.curriculum.versions import Record, VersionStore
    from resume_daemon.daemon.messages import StatesRead
    from resume_daemon.daemon.recorder import Recorder
    from resume_daemon.trainer_log import TrainerLog

log = structlog.get_logger()

REMEMBERED = 8
"""Versions of a file whose summaries are compared, to tell a window that rolls from a loss."""


@dataclass(slots=True)
class _AtResume:
    """The state that was on disk when a process started, and whether it was put back since.

    Kept for as long as that process is the newest: the versions that tell are soon out of sight.
    """

    started: float
    before: StateVersion | None = None
    put_back: bool = False

    def see(self, version: StateVersion) -> None:
        """Take note of a version, in the order of their times."""
        if version.mtime_ns / 1e9 <= self.started:
            self.before = version
        elif self.before is not None:
            self.put_back = self.put_back or _was_put_back(version, self.before)


class CurriculumKeeper:
    """Stores versions as they are read, and judges them.

    Args:
        store: Where contents are kept.
        recorder: Where versions are recorded.
        settings: Limits, and how many versions are kept.
        schemas: By which states are recognised.
    """

    def __init__(
        self,
        store: VersionStore,
        recorder: Recorder,
        settings: Curriculum,
        schemas: Sequence[Schema],
    ) -> None:
        self.settings = settings
        self.ready = not settings.enabled
        self._store = store
        self._recorder = recorder
        self._windows = {schema.name: schema.history_window for schema in schemas}
        self._save_every = {schema.name: schema.save_every for schema in schemas}
        self._schemas = schemas
        self._at_resume: dict[str, _AtResume] = {}
        self._versions = self._stored(REMEMBERED)
        self._failing: dict[str, tuple[StateRead, float]] = {}

    def _stored(self, newest: int | None = None) -> dict[str, list[StateVersion]]:
        """Return the kept versions of each file, the oldest first, without their contents."""
        records: dict[str, list[Record]] = {}
        for record in self._store.records():
            if not record.backup:
                records.setdefault(record.file, []).append(record)
        found: dict[str, list[StateVersion]] = {}
        for file, kept in records.items():
            versions = [self._read_back(record) for record in kept[-(newest or len(kept)) :]]
            found[file] = [version for version in versions if version is not None]
        return found

    def on_states(self, message: StatesRead) -> None:
        """Keep what was read.

        Raises:
            LedgerError: A version could not be recorded; the message may be handed in again.
            OSError: Its content could not be written; likewise.
        """
        for read in message.reads:
            if isinstance(read, StateVersion):
                self._keep(read)
            else:
                self._failing.setdefault(read.file, (read, time.monotonic()))
        self.ready = True

    def assign(self, checkpoint: str, step: int, changed_ns: int) -> dict[str, Assignment] | None:
        """Return the versions that belong to a checkpoint; None before the files were read."""
        if not self.ready:
            return None
        return assign_all(step, self._store.known(), changed_at=changed_ns, checkpoint=checkpoint)

    def judged(
        self,
        *,
        newest: tuple[str, int, int] | None,
        trainer: TrainerLog | None,
        resume: tuple[int, float] | None,
    ) -> Judged:
        """Return what is wrong with the curriculum.

        Args:
            newest: Name, step and change time (nanoseconds) of the newest checkpoint.
            trainer: What the newest trainer state logged.
            resume: The step that training resumed from last and when that process started
                (seconds since the epoch), where there was a resume.
        """
        if not self.settings.enabled or not self.ready:
            return Judged()
        found: list[Condition] = []
        for file, versions in self._versions.items():
            if not versions:
                continue
            version = versions[-1]
            notes: list[Noted | None] = [
                history_lost(
                    version,
                    earlier=versions[:-1],
                    first_logged=trainer.first_step if trainer else None,
                    cadence=trainer.cadence if trainer else 1,
                    window=self._windows.get(version.schema or ""),
                ),
                history_damaged(version),
                self._ahead_at_resume(file, resume),
            ]
            found += [note.condition for note in notes if note and note.condition]
        for read, since in self._failing.values():
            note = unreadable(read, time.monotonic() - since)
            if note is not None and note.condition is not None:
                found.append(note.condition)
        codes = set(CODES)
        if newest is not None:
            found += self._distances(newest)
        else:
            codes -= {AHEAD, BEHIND}
        return Judged(tuple(f"{code.name}:" for code in codes), tuple(found))

    def prune(self) -> None:
        """Forget the oldest versions that no snapshot refers to."""
        referenced = {
            digest
            for snapshot in self._recorder.state.snapshots.values()
            for digest in snapshot.files.values()
        }
        removed = self._store.prune(self.settings.keep_versions, referenced)
        if removed:
            log.info("curriculum versions pruned", removed=len(removed))

    def _keep(self, version: StateVersion) -> None:
        self._failing.pop(version.file, None)
        self._store.add(version)
        last = self._recorder.state.curriculum_of(version.file)
        if last is None or last.digest != version.digest:
            self._recorder.append(
                (
                    "curriculum",
                    {
                        "file": version.file,
                        "digest": version.digest,
                        "step": version.trainer_step,
                        "stage": version.stage,
                        "schema": version.schema,
                        "size": version.size,
                    },
                )
            )
            log.info("curriculum state", file=version.file, step=version.step, stage=version.stage)
        # The content is in the store; a state may have megabytes.
        versions = self._versions.setdefault(version.file, [])
        if not versions or versions[-1].digest != version.digest:
            versions.append(replace(version, content=b""))
            del versions[:-REMEMBERED]
        self.prune()

    def _distances(self, newest: tuple[str, int, int]) -> list[Condition]:
        name, step, changed_ns = newest
        found = []
        for file, assignment in (self.assign(name, step, changed_ns) or {}).items():
            versions = self._versions.get(file, [])
            schema = versions[-1].schema if versions else None
            note = assignment_notes(
                assignment,
                name,
                ahead_limit=self.settings.max_lead_steps,
                behind_limit=self.settings.max_lag_steps,
                save_every=self._save_every.get(schema or ""),
            )
            if note is not None and note.condition is not None:
                found.append(note.condition)
        return found

    def _ahead_at_resume(self, file: str, resume: tuple[int, float] | None) -> Noted | None:
        """Judge the state that was on disk when the newest process started.

        A trainer that puts the state back itself writes one that is in order and not ahead; where
        such a version followed, nothing is wrong.
        """
        if resume is None:
            return None
        step, started = resume
        known = self._at_resume.get(file)
        if known is None or known.started != started:
            known = self._at_resume[file] = _AtResume(started)
            for version in self._stored().get(file, ()):
                known.see(version)
        for version in self._versions[file]:
            known.see(version)
        if known.before is None or known.put_back:
            return None
        return ahead_at_resume(known.before, step)

    def _read_back(self, record: Record) -> StateVersion | None:
        """Return a kept version without its content, which may have megabytes."""
        try:
            return replace(self._store.version(record, self._schemas), content=b"")
        except ResumeDaemonError as error:
            log.warning("curriculum version is damaged", file=record.file, reason=str(error))
            return None


def _was_put_back(version: StateVersion, before: StateVersion) -> bool:
    """Return whether a version written after a resume shows that the state was put back."""
    history, old = version.history, before.history
    if history is None or old is None or version.step is None or before.step is None:
        return False
    return version.step < before.step and history.in_order and history.count < old.count
