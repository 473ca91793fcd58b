"""Putting the curriculum state of a checkpoint back in the run, only when asked."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from resume_daemon.curriculum.snapshot import CURRICULUM
from resume_daemon.curriculum.writing import content_of, digest_of, write_files
from resume_daemon.errors import ChangedError, FormatError
from resume_daemon.files import is_inside
from resume_daemon.repair.steps import WriteFile

if TYPE_CHECKING:
    from collections.abc import Callable

    from resume_daemon.curriculum.snapshot import Snapshot
    from resume_daemon.curriculum.versions import VersionStore


@dataclass(frozen=True, slots=True)
class RestoreStep:
    """One state file that is put back.

    Attributes:
        file: Its path in the run.
        target: Where its bytes go; links inside the run are resolved.
        before: Digest of what is there, or None where nothing is.
        after: Digest of what will be there.
        sentence: Which state it is, as the snapshot says.
    """

    file: str
    target: Path
    before: str | None
    after: str
    sentence: str


@dataclass(frozen=True, slots=True)
class RestorePlan:
    """What a restore will do; no steps: everything is as the snapshot has it."""

    snapshot: Snapshot
    run: Path
    steps: tuple[RestoreStep, ...]
    unchanged: tuple[str, ...]


def plan_restore(snapshot: Snapshot, run: Path) -> RestorePlan:
    """Return what has to be written so that the run has the curriculum state of a snapshot.

    Raises:
        FormatError: The snapshot holds no curriculum state, or a place leaves the run directory or
            is no regular file.
        ResumeDaemonError: What is there cannot be read.
    """
    names = [name for name in snapshot.index.files if name.startswith(CURRICULUM)]
    if not names:
        raise FormatError(
            "restore the curriculum state",
            snapshot.directory,
            "the snapshot holds none: none was seen when it was taken",
            hint="Choose another checkpoint: 'resume-daemon snapshots' lists them.",
        )
    steps: list[RestoreStep] = []
    unchanged: list[str] = []
    for name in names:
        file = name.removeprefix(CURRICULUM)
        target = Path(os.path.realpath(run / file))
        if not is_inside(target, run):
            raise FormatError("restore to", run / file, "it is a link that leaves the run")
        before = digest_of(content_of(target))
        after = snapshot.index.files[name].digest
        if before == after:
            unchanged.append(file)
            continue
        assignment = snapshot.index.curriculum.get(file)
        sentence = assignment.sentence if assignment else "the state kept with the checkpoint"
        steps.append(RestoreStep(file, target, before, after, sentence))
    return RestorePlan(snapshot, run, tuple(steps), tuple(unchanged))


def files_of(plan: RestorePlan) -> tuple[WriteFile, ...]:
    """Return a plan's steps with the content that each writes, verified once more.

    Raises:
        FormatError: The snapshot does not verify.
        ChangedError: It was replaced since the plan was made.
    """
    files = []
    for step in plan.steps:
        content = plan.snapshot.content(CURRICULUM + step.file)
        if digest_of(content) != step.after:
            raise ChangedError("restore from", plan.snapshot.directory, "the snapshot was replaced")
        files.append(WriteFile(step.target, step.before, content, step.sentence))
    return tuple(files)


def apply(
    plan: RestorePlan,
    store: VersionStore,
    *,
    say: Callable[[str], None],
    now: Callable[[], int] = time.time_ns,
) -> None:
    """Carry out a plan: check everything, back everything up, and only then write.

    Args:
        plan: From ``plan_restore``.
        store: Where what is there now is kept, verified before anything is written.
        say: Told in a sentence what was done, after each thing.
        now: The clock, nanoseconds since the epoch.

    Raises:
        ChangedError: A file is not what it was when the plan was made; nothing was written.
        FormatError: The snapshot or a backup does not verify; nothing was written.
        ResumeDaemonError: A file cannot be written.
    """
    write_files(files_of(plan), plan.run, store, say=say, done="Restored", now=now)
    for file in plan.unchanged:
        say(f"Left {file} alone: it is what the snapshot has already.")
