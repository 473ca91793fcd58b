"""The run directory that a user names, looked at before anything else is."""

from __future__ import annotations

import os
from pathlib import Path

from resume_daemon.errors import UsageError


def check_run(
    run: Path, operation: str = "watch", *, missing: str = "`--wait` waits until it is there."
) -> Path:
    """Return the run directory with its links resolved.

    Args:
        run: What the user gave.
        operation: What it is needed for, as a verb phrase.
        missing: What to do where it is not there.

    Raises:
        UsageError: It is missing, no directory, or cannot be listed.
    """
    try:
        with os.scandir(run):
            pass
    except FileNotFoundError as error:
        reason, hint = "there is no such directory", missing
        raise UsageError(operation, run, reason, hint=hint) from error
    except NotADirectoryError as error:
        reason, hint = "it is a file, or lies below one", "Give the trainer's output directory."
        raise UsageError(operation, run, reason, hint=hint) from error
    except OSError as error:
        reason = error.strerror or str(error)
        hint = "Give this user read permission, or run it as the training user."
        raise UsageError(operation, run, reason, hint=hint) from error
    return Path(os.path.realpath(run))
