"""``resume-daemon run``: the daemon, in the foreground."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from resume_daemon.errors import UsageError

if TYPE_CHECKING:
    from resume_daemon.config.settings import Settings
    from resume_daemon.daemon.setup import Setup
    from resume_daemon.notify import Notifier

_PATH: Path | None = typer.Argument(
    None, metavar="RUN", readable=False, help="The run: the trainer's output directory."
)
_CONFIG: Path | None = typer.Option(
    None, "--config", "-c", metavar="FILE", help="A YAML file; see config.example.yaml."
)
_WAIT_SECONDS = 1.0


def command(
    path: Path | None = _PATH,
    *,
    config: Path | None = _CONFIG,
    once: bool = typer.Option(
        False, "--once", help="Process what is there and exit: 1 if an error is found."
    ),
    wait: bool = typer.Option(False, "--wait", help="Wait until the run directory is there."),
) -> None:
    """Watch a run until stopped.

    Needs a run directory, a configuration file, or both.
    """
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

    def read() -> Settings:
        settings = load_settings(config, overrides)
        configure_logs(settings.log.format, settings.log.level)
        return settings

    def reload() -> Setup:
        return make_setup(read())

    notifier = Notifier.from_environment(os.environ)
    settings = read()
    if wait and settings.run is not None:
        _wait_for(settings.run, notifier)
    setup = make_setup(settings)
    daemon = Daemon(setup, notifier, once=once, reload=reload if config is not None else None)
    status = daemon.run()
    if daemon.stuck:
        # The interpreter would wait for their threads; everything of ours is written and closed.
        os._exit(status)
    raise typer.Exit(status)


def _wait_for(run: Path, notifier: Notifier) -> None:
    """Return once the run directory is there; the service manager is told that all is well."""
    import structlog  # noqa: PLC0415 - heavy imports wait

    if run.is_dir():
        return
    structlog.get_logger().info("waiting for the run directory", run=str(run))
    notifier.ready(f"waiting for {run}")
    while not run.is_dir():
        notifier.watchdog()
        time.sleep(_WAIT_SECONDS)
