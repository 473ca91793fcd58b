"""``resume-daemon demo``: the main job for real, in a minute."""

from __future__ import annotations

from pathlib import Path

import typer


def command(
    directory: Path | None = typer.Option(
        None,
        "--directory",
        metavar="DIRECTORY",
        help="Where to keep the run; default: a new temporary directory.",
    ),
) -> None:
    """Watch a small made-up run go wrong and be caught.

    A trainer and a daemon beside it are started, things are broken, and what is seen is shown.
    """
    from resume_daemon.demo.scenario import play  # noqa: PLC0415 - only for the demo

    raise typer.Exit(play(directory))
