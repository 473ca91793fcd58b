"""Writing what a plan of edits says: everything is backed up before anything changes."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from blake3 import blake3

from resume_daemon.errors import ChangedError, FormatError, ResumeDaemonError
from resume_daemon.files import read_bounded, write_atomic
from resume_daemon.parameters.edits.plan import EDIT_LIMIT

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from resume_daemon.repair.steps import WriteFile


def apply(steps: Sequence[WriteFile], backups: Path, *, say: Callable[[str], None]) -> None:
    """Write every file of a plan, or none of them.

    Args:
        steps: From ``edits.plan.steps_for``.
        backups: Where what is there now is kept, each under its digest.
        say: Told in a sentence what was done, after each thing.

    Raises:
        ChangedError: A file is not what it was when the plan was made; nothing was written.
        FormatError: A backup does not verify; nothing was written.
        ResumeDaemonError: A file cannot be written; those before it are as they were.
    """
    present = [_present(step) for step in steps]
    for step, content in zip(steps, present, strict=True):
        kept = _back_up(step, content, backups)
        say(f"Kept what {step.target} was; to take it back, copy it from {kept}")
    written: list[tuple[WriteFile, bytes]] = []
    try:
        for step, content in zip(steps, present, strict=True):
            _present(step)
            # Before the write, which may have happened although it fails.
            written.append((step, content))
            _write(step.target, step.content)
            if _digest(read_bounded(step.target, EDIT_LIMIT)) != _digest(step.content):
                raise ChangedError("change", step.target, "it changed as soon as it was written")
    except ResumeDaemonError:
        for step, content in reversed(written):
            if _digest(read_bounded(step.target, EDIT_LIMIT)) == _digest(step.content):
                _write(step.target, content)
        raise
    for step in steps:
        say(f"Wrote {step.target}: {step.sentence}.")


def _present(step: WriteFile) -> bytes:
    content = read_bounded(step.target, EDIT_LIMIT)
    if _digest(content) != step.before:
        raise ChangedError(
            "change",
            step.target,
            "it changed since the plan was made",
            hint="Look at the difference, and plan again.",
        )
    return content


def _back_up(step: WriteFile, content: bytes, backups: Path) -> Path:
    kept = backups / f"{_digest(content)[:16]}-{step.target.name}"
    try:
        backups.mkdir(parents=True, exist_ok=True)
        write_atomic(kept, content, mode=0o600)
    except OSError as error:
        raise ResumeDaemonError(
            "back up",
            step.target,
            f"{kept} cannot be written ({error.strerror or error})",
            hint="Nothing was changed. Make room, or give --state-dir a place that can be written.",
        ) from error
    if read_bounded(kept, EDIT_LIMIT) != content:
        raise FormatError("back up", step.target, "the backup is not what is there")
    return kept


def _write(target: Path, content: bytes) -> None:
    try:
        like = target.stat()
        mode = stat.S_IMODE(like.st_mode)
        write_atomic(target, content, mode=mode)
        # What the umask took away, and who it belonged to: a rename makes a new file.
        target.chmod(mode)
        if (like.st_uid, like.st_gid) != (os.geteuid(), os.getegid()) and os.geteuid() == 0:
            os.chown(target, like.st_uid, like.st_gid)
    except OSError as error:
        raise ResumeDaemonError(
            "change",
            target,
            error.strerror or str(error),
            hint="Nothing was changed. Give this user write permission, or make room.",
        ) from error


def _digest(content: bytes) -> str:
    return blake3(content).hexdigest()
