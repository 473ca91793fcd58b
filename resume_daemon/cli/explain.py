"""``resume-daemon explain CODE``: what a finding means and what to do."""

from __future__ import annotations

import typer

from resume_daemon.cli.output import JSON_OPTION, print_json
from resume_daemon.errors import UsageError


def command(
    code: str | None = typer.Argument(
        None, metavar="CODE", help="A code such as RD203, or its name; without one, all are listed."
    ),
    *,
    as_json: bool = JSON_OPTION,
) -> None:
    """Explain a finding code: what it means and what to do."""
    from dataclasses import asdict  # noqa: PLC0415 - the catalog imports every check

    from resume_daemon import catalog  # noqa: PLC0415 - as above

    if code is None:
        if as_json:
            print_json({"schema": 1, "codes": [asdict(c) for c in catalog.codes().values()]})
            return
        for each in catalog.codes().values():
            typer.echo(f"{each.id}  {each.severity.value:<7}  {each.title}")
        return
    found = catalog.code(code)
    if found is None:
        raise UsageError(
            "explain", code, "there is no such code", hint="`resume-daemon explain` lists them."
        )
    if as_json:
        print_json({"schema": 1, "codes": [asdict(found)]})
        return
    typer.echo(f"{found.id} {found.name} ({found.severity.value})\n{found.title}")
    typer.echo(f"\n{found.meaning}\n\nWhat to do: {found.action}")
    if found.source:
        typer.echo(f"\nSource: {found.source}")
