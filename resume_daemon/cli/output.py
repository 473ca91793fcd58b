"""How commands speak: JSON to stdout alone, tables for people, errors to stderr."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any, NoReturn

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from resume_daemon.errors import ResumeDaemonError

JSON_OPTION: Any = typer.Option(False, "--json", help="Print JSON on stdout, nothing else.")


def print_json(value: Any) -> None:
    """Print one JSON document; the shapes are contracts that only grow."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def console(*, stderr: bool = False) -> Console:
    """Return the console for people."""
    from rich.console import Console  # noqa: PLC0415 - only commands that print tables need it

    return Console(stderr=stderr, highlight=False, soft_wrap=not sys.stdout.isatty())


def fail(error: ResumeDaemonError) -> NoReturn:
    """Print an error, with all of its problems where it has several, and exit with 2."""
    problems = getattr(error, "problems", ())
    typer.echo(f"error: {error}", err=True)
    if len(problems) > 1:
        for problem in problems:
            typer.echo(f"  {problem}", err=True)
    sys.exit(2)
