"""``resume-daemon config check|show|init|schema``: the configuration file."""

from __future__ import annotations

from pathlib import Path

import typer

from resume_daemon.cli.output import JSON_OPTION, print_json, say

app = typer.Typer(help="Check, show and start configuration files.", no_args_is_help=True)

_FILE: Path = typer.Argument(..., metavar="FILE", readable=False, help="A configuration file.")
_SHOWN: Path = typer.Argument(
    None, metavar="FILE", readable=False, help="A file; without one, the defaults."
)
_NEW: Path = typer.Argument(
    Path("config.yaml"), metavar="FILE", readable=False, help="Where to write it."
)


@app.command()
def check(file: Path = _FILE, *, as_json: bool = JSON_OPTION) -> None:
    """Report all that is wrong in a file; status 2 if anything is."""
    from resume_daemon.config.load import load_settings  # noqa: PLC0415 - heavy imports wait
    from resume_daemon.config.problems import ConfigurationError  # noqa: PLC0415 - as above

    problems: list[dict[str, object]] = []
    try:
        load_settings(file)
    except ConfigurationError as error:
        if not as_json:
            raise
        problems = [
            {"path": each.path, "line": each.line, "message": each.message}
            for each in error.problems
        ]
    if as_json:
        print_json({"schema": 1, "file": str(file), "problems": problems})
        if problems:
            raise typer.Exit(2)
        return
    say(f"{file}: fine")


@app.command()
def show(file: Path = _SHOWN) -> None:
    """Print every setting with its value, as YAML."""
    import yaml  # noqa: PLC0415 - with what it is used for

    from resume_daemon.config.load import load_settings  # noqa: PLC0415 - heavy imports wait

    settings = load_settings(file)
    typer.echo(yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False), nl=False)


@app.command()
def init(file: Path = _NEW) -> None:
    """Write a complete, commented file, never over another."""
    from resume_daemon.config.sample import sample  # noqa: PLC0415 - heavy imports wait
    from resume_daemon.errors import UsageError  # noqa: PLC0415 - as above

    try:
        with file.open("x", encoding="utf-8") as stream:
            stream.write(sample())
    except FileExistsError as error:
        raise UsageError(
            "write", file, "it exists already", hint="Name another file, or move it away."
        ) from error
    except OSError as error:
        raise UsageError("write", file, error.strerror or str(error)) from error
    say(f"wrote {file}")


@app.command()
def schema() -> None:
    """Print the JSON schema of the file, for editors."""
    from resume_daemon.config.sample import json_schema  # noqa: PLC0415 - heavy imports wait

    print_json(json_schema())
