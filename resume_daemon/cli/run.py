"""``resume-daemon run``: the daemon, in the foreground."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from resume_daemon.errors import UsageError

if TYPE_CHECKING:
    from resume_daemon.daemon.setup import Setup

_PATH: Path | None = typer.Argument(None, help="The run: the trainer's output directory.")
_CONFIG: Path | None = typer.Option(
    None, "--config", "-c", help="A YAML file; see config.example.yaml."
)
_WAIT_SECONDS = 2.0


def command(
    path: Path | None = _PATH,
    *,
    config: Path | None = _CONFIG,
    once: bool = typer.Option(
        False, "--once", help="Process what is there and exit: 1 if something is unsound."
    ),
    wait: bool = typer.Option(False, "--wait", help="Wait until the run directory is there."),
) -> None:
    """Watch a run until stopped. Needs a directory, a configuration file, or both."""
    from resume_daemon.config.load import load_settings  # noqa: PLC0415 - heavy imports wait
    from resume_daemon.daemon.loop import Daemon  # noqa: PLC0415 - as above
    from resume_daemon.daemon.setup import make_setup  # noqa: PLC0415 - as above
    from resume_daemon.logs import configure_logs  # noqa: PLC0415 - as above
    from resume_daemon.notify import Notifier  # noqa: PLC0415 - as above

    if path is None and config is None:
        raise UsageError(
            "watch",
            None,
            "neither a run directory nor a configuration is given",
            hint="Try `resume-daemon run /path/to/output`.",
        )
    overrides: dict[str, Any] = {"run": path} if path is not None else {}

    def read() -> Setup:
        settings = load_settings(config, overrides)
        configure_logs(settings.log.format, settings.log.level)
        return make_setup(settings)

    notifier = Notifier.from_environment(os.environ)
    if wait:
        run = load_settings(config, overrides).run
        while run is not None and not run.is_dir():
            notifier.status(f"waiting for {run}")
            time.sleep(_WAIT_SECONDS)
    daemon = Daemon(read(), notifier, once=once, reload=read if config is not None else None)
    raise typer.Exit(daemon.run())
