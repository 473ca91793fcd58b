"""Writing state files as planned: check everything, back everything up, and only then write."""

from __future__ import annotations

import os
import stat
import time
from typing import TYPE_CHECKING

from blake3 import blake3

from resume_daemon.curriculum.state import STATE_LIMIT, StateVersion
from resume_daemon.curriculum.summary import Summary
from resume_daemon.errors import ChangedError, FormatError, ResumeDaemonError, VanishedError
from resume_daemon.files import read_bounded, write_atomic

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from resume_daemon.curriculum.versions import VersionStore
    from resume_daemon.repair.steps import WriteFile


def write_files(
    steps: Sequence[WriteFile],
    run: Path,
    store: VersionStore,
    *,
    say: Callable[[str], None],
    done: str = "Wrote",
    now: Callable[[], int] = time.time_ns,
) -> None:
    """Carry out the steps of a plan.

    The trainer should not be running: it would write its own state over this one.

    Args:
        steps: Each with what has to be there and what will be.
        run: The run directory, with its links resolved; every target lies in it.
        store: Where what is there now is kept, verified before anything is written.
        say: Told in a sentence what was done, after each thing.
        done: What writing is called in those sentences.
        now: The clock, nanoseconds since the epoch.

    Raises:
        ChangedError: A file is not what it was when the plan was made; nothing was written, or
            only the files before it, as was said.
        FormatError: A backup does not verify; nothing was written.
        ResumeDaemonError: A file cannot be written.
    """
    present = {step.target: content_of(step.target) for step in steps}
    for step in steps:
        _refuse_change(step, present[step.target])
    for step in steps:
        content = present[step.target]
        if content is None or step.before is None:
            continue
        file = _name(step, run)
        store.add(_backup(file, content, now()), backup=True)
        if store.get(step.before) != content:
            raise FormatError("back up", step.target, "the backup is not what is there")
        say(f"Kept what {file} was as version {step.before[:12]}.")
    for step in steps:
        _refuse_change(step, content_of(step.target))
        _write(step, run)
        say(f"{done} {_name(step, run)}: {step.sentence}.")


def content_of(path: Path) -> bytes | None:
    """Return what a state file holds, or None where there is none.

    Raises:
        FormatError: It is no regular file, or too large.
        ResumeDaemonError: It cannot be read.
    """
    try:
        return read_bounded(path, STATE_LIMIT)
    except VanishedError:
        return None


def digest_of(content: bytes | None) -> str | None:
    """Return the digest that a step states for a content; None for a file that is not there."""
    return None if content is None else blake3(content).hexdigest()


def _name(step: WriteFile, run: Path) -> str:
    return os.path.relpath(step.target, run)


def _refuse_change(step: WriteFile, content: bytes | None) -> None:
    if digest_of(content) != step.before:
        raise ChangedError(
            "write",
            step.target,
            "it changed since the plan was made",
            hint="Stop the trainer, look at the difference, and plan again.",
        )


def _write(step: WriteFile, run: Path) -> None:
    try:
        like = (step.target if step.before is not None else run).stat()
        mode = stat.S_IMODE(like.st_mode) if step.before is not None else 0o644
        step.target.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(step.target, step.content, mode=mode)
        # A rename makes the file ours: a trainer of another user could not rewrite it.
        step.target.chmod(mode)
        if (like.st_uid, like.st_gid) != (os.geteuid(), os.getegid()) and os.geteuid() == 0:
            os.chown(step.target, like.st_uid, like.st_gid)
    except OSError as error:
        raise ResumeDaemonError(
            "write",
            step.target,
            error.strerror or str(error),
            hint="Give this user write permission, or do it as the training user.",
        ) from error
    if content_of(step.target) != step.content:
        raise ChangedError("write", step.target, "it changed as soon as it was written")


def _backup(file: str, content: bytes, seen_at: int) -> StateVersion:
    # Not recognised and not required to be whole: a damaged state is kept as it is.
    return StateVersion(
        file=file,
        digest=blake3(content).hexdigest(),
        content=content,
        size=len(content),
        mtime_ns=seen_at,
        seen_at=seen_at,
        summary=Summary(),
        valid_json=False,
    )
