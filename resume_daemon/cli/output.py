"""How commands speak: JSON to stdout alone, tables for people, errors to stderr."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import typer

from resume_daemon.report.plain import plain

if TYPE_CHECKING:
    from rich.console import Console

    from resume_daemon.errors import ResumeDaemonError

JSON_OPTION: Any = typer.Option(False, "--json", help="Print JSON on stdout, nothing else.")


def print_json(value: Any) -> None:
    """Print one JSON document; the shapes are contracts that only grow.

    In ASCII, which every terminal, locale and pipe passes on as it is.
    """
    typer.echo(json.dumps(value, indent=2))


def say(sentence: str) -> None:
    """Print a line for people on stdout."""
    typer.echo(plain(sentence))


def say_error(error: ResumeDaemonError) -> None:
    """Print an error on stderr; a configuration's problems have a line each."""
    typer.echo("\n".join(plain(line) for line in f"Error: {error}".split("\n")), err=True)


def console(*, stderr: bool = False) -> Console:
    """Return the console for tables and colours.

    Text is shown as it is: names of files and tensors may well look like markup.
    """
    from rich.console import Console  # noqa: PLC0415 - only commands that print tables need it

    terminal = (sys.stderr if stderr else sys.stdout).isatty()
    return Console(
        stderr=stderr, highlight=False, markup=False, emoji=False, soft_wrap=not terminal
    )
