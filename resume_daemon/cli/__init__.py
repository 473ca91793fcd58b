"""The command line: one file per command."""

from __future__ import annotations

import io
import sys

import typer

from resume_daemon.cli import (
    alerts,
    backup,
    cleanup,
    config,
    curriculum,
    demo,
    doctor,
    env,
    explain,
    ledger,
    params,
    plan,
    repair,
    report,
    restore,
    run,
    snapshots,
    status,
    verify,
)
from resume_daemon.cli import exec as exec_
from resume_daemon.cli.ending import Commands

app = typer.Typer(
    name="resume-daemon",
    cls=Commands,
    help="Keeps long training runs resumable: verifies checkpoints, keeps curriculum state, "
    "records tracker and trainer steps, alerts on drift.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("run")(run.command)
app.command("verify")(verify.command)
app.command("status")(status.command)
app.add_typer(ledger.app, name="ledger")
app.add_typer(snapshots.app, name="snapshots")
app.command("curriculum")(curriculum.command)
app.command("params")(params.command)
app.command("plan")(plan.command)
app.command("env")(env.command)
app.command("exec")(exec_.command)
app.command("report")(report.command)
app.command("doctor")(doctor.command)
app.command("cleanup")(cleanup.command)
app.command("repair")(repair.command)
app.command("backup")(backup.command)
app.command("restore")(restore.command)
app.command("explain")(explain.command)
app.add_typer(config.app, name="config")
app.add_typer(alerts.app, name="alerts")
app.command("demo")(demo.command)


@app.callback(invoke_without_command=True)
def _root(
    *,
    version: bool = typer.Option(False, "--version", help="Print the version and exit."),
) -> None:
    if version:
        from resume_daemon import __version__  # noqa: PLC0415 - only when asked for

        typer.echo(f"resume-daemon {__version__}")
        raise typer.Exit


def main() -> None:
    """Run the command line."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A file's name may be any bytes, and a terminal's encoding may lack what a table needs.
        sys.stdout.reconfigure(errors="backslashreplace")
    # Named here, so that `python -m resume_daemon` speaks of, and completes, the installed command.
    app(prog_name="resume-daemon")
