"""``resume-daemon params RUN``: what a run was, and will be, trained with."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from resume_daemon.cli.mending import AUTO_FIX, STRATEGY, chosen_strategy, mend
from resume_daemon.cli.output import JSON_OPTION, console, print_json, say
from resume_daemon.cli.runs import RUN, STATE_DIR
from resume_daemon.errors import UsageError

if TYPE_CHECKING:
    from resume_daemon.findings import Finding
    from resume_daemon.parameters.facts import Facts


def _files(option: str, what: str) -> Any:
    return typer.Option(None, option, metavar="FILE", readable=False, help=what)


_REPORT: Any = typer.Option(
    None,
    "--report",
    metavar="FILE",
    dir_okay=False,
    readable=False,
    help="Also write all of it to a file: text, or JSON if its name ends with .json.",
)


def command(
    run: Path = RUN,
    *,
    checkpoint: str | None = typer.Option(
        None, "--checkpoint", metavar="NAME", help="The checkpoint to compare with; the newest."
    ),
    script: list[Path] | None = _files("--script", "A launch script; may be given again."),
    config: list[Path] | None = _files("--config", "YAML or JSON; may be given again."),
    code: list[Path] | None = _files("--code", "Python with configuration classes, or a folder."),
    env_file: list[Path] | None = _files("--env-file", "An environment file, likewise."),
    python: Path | None = typer.Option(
        None, "--python", metavar="PATH", readable=False, help="The trainer's interpreter."
    ),
    auto_fix: bool = AUTO_FIX,
    strategy: str = STRATEGY,
    show_all: bool = typer.Option(False, "--all", help="Show every parameter there is."),
    report_only: bool = typer.Option(
        False, "--report-only", help="End with 0 whatever is found; nothing is ever changed."
    ),
    report: Path | None = _REPORT,
    as_json: bool = JSON_OPTION,
    state_dir: Path | None = STATE_DIR,
) -> None:
    """Show what a run is trained with, from every source.

    What the next start is given and what the checkpoint was trained with, side by side, each with
    the place where it stands. Nothing is run or imported, and nothing changed without --auto-fix.
    """
    from resume_daemon.daemon.setup import check_run  # noqa: PLC0415 - heavy imports wait
    from resume_daemon.findings import Severity  # noqa: PLC0415 - as above
    from resume_daemon.parameters.checks import check, fitting  # noqa: PLC0415 - as above
    from resume_daemon.parameters.sources.discovery import SourceFiles  # noqa: PLC0415 - as above
    from resume_daemon.parameters.survey import Request, survey  # noqa: PLC0415 - as above
    from resume_daemon.report.parameters import as_json as document  # noqa: PLC0415 - as above
    from resume_daemon.report.parameters_file import check_file, write_file  # noqa: PLC0415
    from resume_daemon.state_directory import find_state_directory  # noqa: PLC0415 - as above

    chosen = chosen_strategy(strategy)
    if report is not None:
        check_file(report)
    if auto_fix and report_only:
        raise UsageError("fix parameters of", run, "--report-only is there not to change anything")
    missing = "Give the trainer's output directory."
    real = check_run(run, "read the parameters of", missing=missing)
    named = SourceFiles(
        scripts=_absolute(script, "--script"),
        configurations=_absolute(config, "--config"),
        environment_files=_absolute(env_file, "--env-file"),
        code=_absolute(code, "--code"),
    )

    def look() -> Facts:
        state = find_state_directory(real, state_dir)
        return survey(real, state, Request(checkpoint, named, python), os.environ)

    facts = look()
    fix = None
    if auto_fix:
        fix = mend(facts, chosen, state_dir, quiet=as_json)
        # What is said below is what is there now.
        facts = look() if fix["files"] else facts
    findings = list(check(facts))
    whole = {**document(facts, findings), "fix": fix}
    if report is not None:
        write_file(report, facts, findings, whole, list(fitting(facts)))
    if as_json:
        print_json(whole)
    else:
        _show(facts, findings, show_all=show_all)
    if not report_only and any(each.severity is Severity.ERROR for each in findings):
        raise typer.Exit(1)


def _absolute(paths: list[Path] | None, option: str) -> tuple[Path, ...]:
    for path in paths or ():
        if not os.path.lexists(path):
            raise UsageError("read", path, "it is not there", hint=f"Look at {option}.")
    return tuple(Path.cwd() / path for path in paths or ())


def _show(facts: Facts, findings: list[Finding], *, show_all: bool) -> None:
    from resume_daemon.parameters.checks import fitting  # noqa: PLC0415 - heavy imports wait
    from resume_daemon.report.console import finding_lines  # noqa: PLC0415 - only for people
    from resume_daemon.report.parameters import (  # noqa: PLC0415 - as above
        chosen_rows,
        files_elsewhere,
        parameter_table,
    )

    checkpoint = facts.checkpoint
    say(f"against {checkpoint.name}" if checkpoint is not None else "there is no checkpoint yet")
    rows = list(facts.parameters.values()) if show_all else chosen_rows(facts)
    screen = console()
    if rows:
        screen.print(parameter_table(rows))
    if hidden := len(facts.parameters) - len(rows):
        say(f"{hidden} more; --all shows them")
    for path in files_elsewhere(facts):
        say(f"read: {path}")
    if not facts.parameters:
        say("nothing says what it is trained with; name files with --script, --config or --code")
    for each in facts.unread:
        say(f"not read: {each.path}: {each.reason}")
    for sentence in fitting(facts):
        say(sentence)
    for line in finding_lines(findings):
        screen.print(line)
