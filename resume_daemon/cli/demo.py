"""``resume-daemon demo``: the main job for real, in a minute."""

from __future__ import annotations

from pathlib import Path

import typer


def command(
    directory: Path | None = typer.Option(
        None, "--directory", help="Where to keep the run; default: a new temporary directory."
    ),
) -> None:
    """Start a small trainer and a daemon beside it, break things, and show what is seen."""
    from resume_daemon.demo.scenario import play  # noqa: PLC0415 - only for the demo

    raise typer.Exit(play(directory))
