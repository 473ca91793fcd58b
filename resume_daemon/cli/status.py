"""``resume-daemon status RUN``: what the daemon knows, as a table."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from resume_daemon.cli.output import JSON_OPTION, console, print_json
from resume_daemon.cli.runs import RUN, STATE_DIR, sidecar
from resume_daemon.errors import UsageError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from resume_daemon.ledger.queries import RunState
    from resume_daemon.lock import Holder
    from resume_daemon.state_directory import StateDirectory

_REFRESH_SECONDS = 1.0
_OTHER_LINES = 8
"""Lines of a watched screen that are no rows: the header, the daemon, what to resume from."""


def command(
    run: Path = RUN,
    *,
    watch: bool = typer.Option(False, "--watch", help="Keep showing it until interrupted."),
    as_json: bool = JSON_OPTION,
    state_dir: Path = STATE_DIR,
) -> None:
    """Show each checkpoint, its curriculum, steps and what fires."""
    from resume_daemon.ledger.queries import RunState  # noqa: PLC0415 - heavy imports wait

    if watch and (as_json or not sys.stdout.isatty()):
        raise UsageError(
            "watch", run, "that needs a terminal to draw on", hint="Leave --watch out, or --json."
        )
    directory = sidecar(run, state_dir)
    state = RunState()
    _update(state, directory)
    if as_json:
        print_json(_as_json(state, directory))
    elif watch:
        _watch(state, directory)
    else:
        console().print(_render(state, directory))


def _watch(state: RunState, directory: StateDirectory) -> None:
    from rich.live import Live  # noqa: PLC0415 - only for --watch

    out = console()

    def draw() -> RenderableType:
        # Of a long run only the end is shown, or what fires would be pushed off the screen.
        room = out.height - _OTHER_LINES - 2 * len(state.firing)
        return _render(state, directory, last=max(room, 5))

    with Live(draw(), console=out, auto_refresh=False) as live:
        while True:
            time.sleep(_REFRESH_SECONDS)
            _update(state, directory)
            live.update(draw(), refresh=True)


def _update(state: RunState, directory: StateDirectory) -> None:
    from resume_daemon.ledger.reader import read_records  # noqa: PLC0415 - heavy imports wait

    for record in read_records(directory.ledger, state.seq):
        state.apply(record)


def _daemon(directory: StateDirectory) -> Holder | None:
    """Return the daemon that watches now."""
    from resume_daemon.lock import holder  # noqa: PLC0415 - heavy imports wait

    found = holder(directory.lock)
    return found if found is not None and found.held else None


def _as_json(state: RunState, directory: StateDirectory) -> dict[str, Any]:
    from resume_daemon.report.rows import (  # noqa: PLC0415 - heavy imports wait
        backups_as_json,
        firing_as_json,
        newest_sound,
        rows,
    )

    daemon, server = _daemon(directory), state.server
    return {
        "schema": 1,
        "state_directory": str(directory.path),
        "daemon": daemon and {"pid": daemon.pid, "host": daemon.host, "since": daemon.since},
        "checkpoints": [row.as_json() for row in rows(state)],
        "newest_sound": newest_sound(state),
        "tracker_server": server
        and {
            "tracker": server.tracker,
            "run_id": server.run_id,
            "state": server.state,
            "tracker_step": server.tracker_step,
            "trainer_step": server.trainer_step,
        },
        "backups": backups_as_json(state),
        "conditions": firing_as_json(state),
    }


def _render(
    state: RunState, directory: StateDirectory, *, last: int | None = None
) -> RenderableType:
    from rich.console import Group  # noqa: PLC0415 - only for people
    from rich.text import Text  # noqa: PLC0415 - as above

    from resume_daemon.report.console import checkpoint_table, condition_lines  # noqa: PLC0415
    from resume_daemon.report.plain import plain  # noqa: PLC0415 - as above
    from resume_daemon.report.rows import backups_line, newest_sound  # noqa: PLC0415 - as above

    daemon, best = _daemon(directory), newest_sound(state)
    watching = (
        f"daemon {daemon.pid} on {daemon.host} since {daemon.since}"
        if daemon
        else "no daemon is watching now"
    )
    return Group(
        Text(plain(watching), style="dim"),
        checkpoint_table(state, last=last),
        *condition_lines(state),
        *([Text(plain(kept), style="dim")] if (kept := backups_line(state)) else []),
        Text(f"resume from {best}" if best else "no sound checkpoint", style="bold"),
    )
