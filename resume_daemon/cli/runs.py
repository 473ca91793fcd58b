"""How commands find a run and its sidecar, and read its ledger beside a daemon that writes it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from resume_daemon.errors import UsageError

if TYPE_CHECKING:
    from resume_daemon.ledger.queries import RunState
    from resume_daemon.state_directory import StateDirectory

RUN: Any = typer.Argument(..., help="The run: the trainer's output directory.")
STATE_DIR: Any = typer.Option(
    None, "--state-dir", help="The state_dir of the daemon's configuration, where it has one."
)


def sidecar(run: Path, state_dir: Path | None) -> StateDirectory:
    """Return the sidecar of a run.

    Raises:
        UsageError: The run is missing, or no daemon has ever watched it.
    """
    from resume_daemon.daemon.setup import check_run  # noqa: PLC0415 - heavy imports wait
    from resume_daemon.state_directory import find_state_directory  # noqa: PLC0415 - as above

    found = find_state_directory(check_run(run), state_dir)
    if found is None or not found.ledger.exists():
        raise UsageError(
            "read the ledger of",
            run,
            "no daemon has watched this run yet",
            hint=f"Start one: `resume-daemon run {run}` (or once: `run --once {run}`).",
        )
    return found


def state_of(directory: StateDirectory) -> RunState:
    """Return what the ledger says now."""
    from resume_daemon.ledger.queries import RunState  # noqa: PLC0415 - heavy imports wait
    from resume_daemon.ledger.reader import read_records  # noqa: PLC0415 - as above

    state = RunState()
    for record in read_records(directory.ledger):
        state.apply(record)
    return state


def real(path: Path) -> Path:
    """Return a path with its links resolved."""
    return Path(os.path.realpath(path))
