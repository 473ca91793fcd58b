"""``resume-daemon status RUN``: what the daemon knows, as a table."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from resume_daemon.cli.output import JSON_OPTION, console, print_json
from resume_daemon.cli.runs import RUN, STATE_DIR, sidecar

if TYPE_CHECKING:
    from rich.console import RenderableType

    from resume_daemon.ledger.queries import RunState
    from resume_daemon.state_directory import StateDirectory

_REFRESH_SECONDS = 1.0


def command(
    run: Path = RUN,
    *,
    watch: bool = typer.Option(False, "--watch", help="Keep showing it until interrupted."),
    as_json: bool = JSON_OPTION,
    state_dir: Path = STATE_DIR,
) -> None:
    """Show every checkpoint with its verdict, curriculum and steps, and what fires now."""
    from resume_daemon.ledger.queries import RunState  # noqa: PLC0415 - heavy imports wait

    directory = sidecar(run, state_dir)
    state = RunState()
    _update(state, directory)
    if as_json:
        print_json(_as_json(state, directory))
        return
    if not watch:
        console().print(_render(state, directory))
        return
    from rich.live import Live  # noqa: PLC0415 - only for --watch

    with Live(_render(state, directory), console=console(), auto_refresh=False) as live:
        while True:
            time.sleep(_REFRESH_SECONDS)
            _update(state, directory)
            live.update(_render(state, directory), refresh=True)


def _update(state: RunState, directory: StateDirectory) -> None:
    from resume_daemon.ledger.reader import read_records  # noqa: PLC0415 - as above

    for record in read_records(directory.ledger, state.seq):
        state.apply(record)


def _as_json(state: RunState, directory: StateDirectory) -> dict[str, Any]:
    from resume_daemon.lock import holder  # noqa: PLC0415 - as above
    from resume_daemon.report.rows import newest_sound, rows  # noqa: PLC0415 - as above

    held = holder(directory.lock)
    return {
        "schema": 1,
        "state_directory": str(directory.path),
        "daemon": (
            {"pid": held.pid, "host": held.host, "since": held.since}
            if held is not None and held.held
            else None
        ),
        "checkpoints": [row.as_json() for row in rows(state)],
        "newest_sound": newest_sound(state),
        "tracker_server": (
            {
                "tracker": state.server.tracker,
                "run_id": state.server.run_id,
                "state": state.server.state,
                "tracker_step": state.server.tracker_step,
                "trainer_step": state.server.trainer_step,
            }
            if state.server is not None
            else None
        ),
        "conditions": [
            {
                "condition": key,
                "code": firing.condition.code,
                "severity": firing.condition.severity.value,
                "message": firing.condition.message,
                "since": firing.since,
            }
            for key, firing in state.firing.items()
        ],
    }


def _render(state: RunState, directory: StateDirectory) -> RenderableType:
    from rich.console import Group  # noqa: PLC0415 - only for people
    from rich.text import Text  # noqa: PLC0415 - as above

    from resume_daemon.lock import holder  # noqa: PLC0415 - as above
    from resume_daemon.report.console import checkpoint_table, condition_lines  # noqa: PLC0415
    from resume_daemon.report.rows import newest_sound  # noqa: PLC0415

    held = holder(directory.lock)
    if held is not None and held.held:
        daemon = f"daemon {held.pid} on {held.host} since {held.since}"
    else:
        daemon = "no daemon is watching now"
    best = newest_sound(state)
    return Group(
        Text(daemon, style="dim"),
        checkpoint_table(state),
        *condition_lines(state),
        Text(f"resume from {best}" if best else "no sound checkpoint", style="bold"),
    )
