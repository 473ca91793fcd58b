"""``resume-daemon doctor [RUN]``: everything that a resume depends on, looked at once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from resume_daemon.cli.output import JSON_OPTION, print_json, say
from resume_daemon.cli.planning import DEGRADED, RUN_ID, reading_bars, run_and_state
from resume_daemon.cli.runs import STATE_DIR
from resume_daemon.errors import UsageError

if TYPE_CHECKING:
    from resume_daemon.doctor.diagnosis import Diagnosis
    from resume_daemon.doctor.subject import Wishes


def _named(text: str) -> Path:
    """Return the run that was named: an empty variable of a script is not the directory here."""
    if not text:
        raise UsageError("examine", "the run", "its name is empty", hint="Is a variable unset?")
    return Path(text)


_RUN: Any = typer.Argument(
    None,
    metavar="RUN",
    parser=_named,
    help="The run: the trainer's output directory. Without it, the machine alone is examined.",
)
_CHECKPOINT: Any = typer.Option(
    None, "--checkpoint", metavar="NAME", help="Consider this checkpoint alone."
)
_PYTHON: Any = typer.Option(
    None,
    "--python",
    metavar="PATH",
    help="The trainer's interpreter or its environment; by default as W&B noted, or on PATH.",
)

_CODE: Any = typer.Option(
    None,
    "--code",
    metavar="PATH",
    readable=False,
    help="The training's own code: is it whole? It is parsed, and never imported.",
)
_HTML: Any = typer.Option(
    None,
    "--html",
    metavar="FILE",
    dir_okay=False,
    readable=False,
    help="Write it with the run's pictures as one page; an older report there is replaced.",
)


def command(
    run: Path | None = _RUN,
    *,
    preflight: bool = typer.Option(
        False, "--preflight", help="For a launch script: only what refuses a start, in five lines."
    ),
    checkpoint: str | None = _CHECKPOINT,
    python: Path | None = _PYTHON,
    code: Path | None = _CODE,
    deep: bool = typer.Option(
        False, "--deep", help="Read every byte of checkpoints that no daemon has verified."
    ),
    degraded: bool = DEGRADED,
    run_id: str | None = RUN_ID,
    detailed: bool = typer.Option(
        False, "--detailed", help="Tell everything that was looked at; secrets are masked."
    ),
    report_only: bool = typer.Option(
        False, "--report-only", help="Write nothing at all; refuses options that would."
    ),
    html: Path | None = _HTML,
    as_json: bool = JSON_OPTION,
    state_dir: Path | None = STATE_DIR,
) -> None:
    """Examine a run and its surroundings before a resume.

    Environment, packages, W&B, checkpoints, curriculum, disk, permissions, clock, kernel limits.
    Nothing is changed and none of the user's code runs. Ends with 1 where anything is an error.
    """
    from resume_daemon.doctor.subject import Wishes  # noqa: PLC0415 - heavy imports wait
    from resume_daemon.report.diagnosis import diagnosis_lines, preflight_lines  # noqa: PLC0415

    if html is not None:
        _check_html(html, run, refused=report_only or preflight)
    shown = None if run is None else os.fspath(run)
    if preflight and (run is None or _is_to_come(run)):
        if run is None:
            raise UsageError("examine", None, "--preflight needs a run", hint="Name it.")
        say(f"{shown}: may start: there is no such directory yet, so this is the first start")
        return
    wishes = Wishes(
        python=python,
        degraded=degraded,
        deep=deep,
        run_id=run_id,
        code=code,
        brief=preflight,
    )
    found = _examined(run, state_dir, wishes, checkpoint, show=deep and not as_json)
    if html is not None and run is not None:
        _write_html(html, run, state_dir, found)
    if as_json:
        print_json(found.as_json())
    else:
        lines = diagnosis_lines(found, shown, detailed=detailed)
        for line in preflight_lines(found, shown) if preflight and shown is not None else lines:
            say(line)
        if html is not None:
            say(f"wrote {html}")
    if found.failed:
        raise typer.Exit(1)


def _check_html(html: Path, run: Path | None, *, refused: bool) -> None:
    """Make sure, before anything is read, that the page can and may be written.

    Raises:
        UsageError: It may not.
    """
    from resume_daemon.report.html.writing import check_target  # noqa: PLC0415 - only for a page

    operation = "write the report"
    if refused:
        reason = "--report-only and --preflight write nothing"
        raise UsageError(operation, html, reason, hint="Leave one of the two out.")
    if run is None:
        raise UsageError(operation, html, "a page is about a run", hint="Name the run.")
    check_target(html)


def _write_html(html: Path, run: Path, state_dir: Path | None, found: Diagnosis) -> None:
    from resume_daemon.doctor.diagnosis import by_gravity  # noqa: PLC0415 - only for a page
    from resume_daemon.report.html.facts import Theme  # noqa: PLC0415 - only for a page
    from resume_daemon.report.html.writing import write_report  # noqa: PLC0415 - as above

    real, state = run_and_state(run, state_dir, "examine")
    themes = [
        Theme(each.name, each.summary, tuple(by_gravity(each.findings)))
        for each in found.gravest_first()
    ]
    write_report(html, real, state, themes)


def _is_to_come(run: Path) -> bool:
    """Return whether the run's directory is one that its first start will make."""
    above = run.absolute().parent
    return not os.path.lexists(run) and os.path.isdir(above)  # noqa: PTH112 - Path's may raise


def _examined(
    run: Path | None,
    state_dir: Path | None,
    wishes: Wishes,
    checkpoint: str | None,
    *,
    show: bool,
) -> Diagnosis:
    from dataclasses import replace  # noqa: PLC0415 - heavy imports wait

    from resume_daemon.doctor.examine import examine  # noqa: PLC0415 - as above
    from resume_daemon.doctor.host import Host  # noqa: PLC0415 - as above
    from resume_daemon.doctor.subject import Subject  # noqa: PLC0415 - as above

    if run is None:
        if checkpoint is not None:
            raise UsageError("examine", checkpoint, "no run was given", hint="Give its run first.")
        return examine(Subject(None, None, Host.here(), wishes))
    real, state = run_and_state(run, state_dir, "examine")
    if checkpoint is not None:
        wishes = replace(wishes, checkpoint=_name_of(checkpoint, real))
    with reading_bars(show=show) as watch:
        return examine(Subject(real, state, Host.here(), wishes, watch=watch))


def _name_of(checkpoint: str, run: Path) -> str:
    """Return the name of a checkpoint of the run, which may be given as a path as well.

    Raises:
        UsageError: The run has no such checkpoint.
    """
    from resume_daemon.layouts.registry import checkpoints_in  # noqa: PLC0415 - heavy imports wait

    names = checkpoints_in(run)
    name = os.path.basename(os.path.normpath(checkpoint))  # noqa: PTH119 - what was given is a str
    if name not in names:
        there = f"it has {', '.join(names[-5:])}" if names else "it has none yet"
        raise UsageError("examine", checkpoint, f"the run has no such checkpoint; {there}")
    return name
