"""Find a backup by what a person calls it, also where the run has another path by now."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from resume_daemon.backup.address import folder_of
from resume_daemon.backup.destinations import open_destination
from resume_daemon.backup.inventory import take_inventory
from resume_daemon.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from resume_daemon.backup.address import Address
    from resume_daemon.backup.destinations import Destination
    from resume_daemon.backup.record import Backup

_FOLDER = re.compile(r".+-[0-9a-f]{8}")
_MOST = 200
"""Runs at a destination that are looked through."""


def find_backup(address: Address, run: Path, wanted: str) -> tuple[Backup, Destination]:
    """Return a backup: the one of that name, or the last saved one of a checkpoint.

    The run's own directory is looked at first; only where it has none, all others: a run that was
    lost with its machine is restored to another path.

    Args:
        address: The destination.
        run: The run directory, with its links resolved.
        wanted: The name of a backup, or of a checkpoint.

    Raises:
        UsageError: There is none, or several runs have one.
        ResumeDaemonError: The destination cannot be listed or read.
    """
    own = folder_of(run)
    if (found := _look(address, own, wanted)) is not None:
        return found
    others = [n for n in open_destination(address, "").names() if _FOLDER.fullmatch(n) and n != own]
    matches = {n: f for n in others[:_MOST] if (f := _look(address, n, wanted)) is not None}
    if len(matches) == 1:
        return next(iter(matches.values()))
    if not matches:
        raise UsageError(
            "restore",
            wanted,
            f"there is no whole backup of it at {address}",
            hint=f"`resume-daemon backup {run} --to {address} --list` shows those of this run.",
        )
    raise UsageError(
        "restore",
        wanted,
        f"several runs have a backup of it at {address}: "
        f"{', '.join(f'{each} ({backup.run})' for each, (backup, _) in matches.items())}",
        hint="Give the full name of one, as `--list` shows it.",
    )


def _look(address: Address, folder: str, wanted: str) -> tuple[Backup, Destination] | None:
    destination = open_destination(address, folder)
    for backup in take_inventory(destination).backups:
        if wanted in {backup.id, backup.checkpoint}:
            return backup, destination
    return None
