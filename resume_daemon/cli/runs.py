"""How commands find a run and its sidecar, and read its ledger beside a daemon that writes it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from resume_daemon.errors import UsageError

if TYPE_CHECKING:
    from resume_daemon.state_directory import StateDirectory

# Whether it can be read is found out by reading, so that one sentence tells it everywhere.
RUN: Any = typer.Argument(
    ..., metavar="RUN", readable=False, help="The run: the trainer's output directory."
)
STATE_DIR: Any = typer.Option(
    None,
    "--state-dir",
    metavar="DIRECTORY",
    readable=False,
    help="The state_dir of the daemon's configuration, where it has one.",
)


def sidecar(run: Path, state_dir: Path | None) -> StateDirectory:
    """Return the sidecar of a run.

    Raises:
        UsageError: The run is missing, or no daemon has ever watched it.
    """
    from resume_daemon.run_directory import check_run  # noqa: PLC0415 - heavy imports wait
    from resume_daemon.state_directory import find_state_directory  # noqa: PLC0415 - as above

    operation = "read the ledger of"
    real = check_run(run, operation, missing="Give the output directory of the trainer.")
    found = find_state_directory(real, state_dir)
    if found is None or not found.ledger.exists():
        raise UsageError(
            operation,
            run,
            "no daemon has watched this run yet",
            hint=f"Start one with `resume-daemon run {run}`, "
            "or give --state-dir where its configuration sets state_dir.",
        )
    return found
