"""Putting the curriculum state of a checkpoint back in the run, only when asked."""

from __future__ import annotations

import os
import stat
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from blake3 import blake3

from resume_daemon.curriculum.snapshot import CURRICULUM
from resume_daemon.curriculum.state import STATE_LIMIT, StateVersion
from resume_daemon.curriculum.summary import Summary
from resume_daemon.errors import ChangedError, FormatError, ResumeDaemonError, VanishedError
from resume_daemon.files import is_inside, read_bounded, write_atomic

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
        before = _digest(_content(target))
        after = snapshot.index.files[name].digest
        if before == after:
            unchanged.append(file)
            continue
        assignment = snapshot.index.curriculum.get(file)
        sentence = assignment.sentence if assignment else "the state kept with the checkpoint"
        steps.append(RestoreStep(file, target, before, after, sentence))
    return RestorePlan(snapshot, run, tuple(steps), tuple(unchanged))


def apply(
    plan: RestorePlan,
    store: VersionStore,
    *,
    say: Callable[[str], None],
    now: Callable[[], int] = time.time_ns,
) -> None:
    """Carry out a plan: check everything, back everything up, and only then write.

    The trainer should not be running: it would write its own state over this one.

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
    contents = {s.file: plan.snapshot.content(CURRICULUM + s.file) for s in plan.steps}
    present = {step.file: _content(step.target) for step in plan.steps}
    for step in plan.steps:
        _refuse_change(step, present[step.file])
        if _digest(contents[step.file]) != step.after:
            raise ChangedError("restore from", plan.snapshot.directory, "the snapshot was replaced")
    for step in plan.steps:
        content = present[step.file]
        if content is None or step.before is None:
            continue
        store.add(_backup(step, content, now()), backup=True)
        if store.get(step.before) != content:
            raise FormatError("back up", step.target, "the backup is not what is there")
        say(f"Kept what {step.file} was as version {step.before[:12]}.")
    for step in plan.steps:
        _refuse_change(step, _content(step.target))
        _write(step, contents[step.file], plan.run)
        say(f"Restored {step.file}: {step.sentence}.")
    for file in plan.unchanged:
        say(f"Left {file} alone: it is what the snapshot has already.")


def _refuse_change(step: RestoreStep, content: bytes | None) -> None:
    if _digest(content) != step.before:
        raise ChangedError(
            "restore",
            step.target,
            "it changed since the plan was made",
            hint="Stop the trainer, look at the difference, and plan again.",
        )


def _write(step: RestoreStep, content: bytes, run: Path) -> None:
    try:
        like = (step.target if step.before is not None else run).stat()
        mode = stat.S_IMODE(like.st_mode) if step.before is not None else 0o644
        step.target.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(step.target, content, mode=mode)
        # A rename makes the file ours: a trainer of another user could not rewrite it.
        step.target.chmod(mode)
        if (like.st_uid, like.st_gid) != (os.geteuid(), os.getegid()) and os.geteuid() == 0:
            os.chown(step.target, like.st_uid, like.st_gid)
    except OSError as error:
        raise ResumeDaemonError(
            "restore",
            step.target,
            error.strerror or str(error),
            hint="Give this user write permission, or restore as the training user.",
        ) from error
    if _digest(_content(step.target)) != step.after:
        raise ChangedError("restore", step.target, "it changed as soon as it was written")


def _backup(step: RestoreStep, content: bytes, seen_at: int) -> StateVersion:
    # Not recognised and not required to be whole: a damaged state is kept as it is.
    return StateVersion(
        file=step.file,
        digest=blake3(content).hexdigest(),
        content=content,
        size=len(content),
        mtime_ns=seen_at,
        seen_at=seen_at,
        summary=Summary(),
        valid_json=False,
    )


def _content(path: Path) -> bytes | None:
    try:
        return read_bounded(path, STATE_LIMIT)
    except VanishedError:
        return None


def _digest(content: bytes | None) -> str | None:
    return None if content is None else blake3(content).hexdigest()
