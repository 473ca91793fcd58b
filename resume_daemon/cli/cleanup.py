"""``resume-daemon cleanup RUN``: what is left over before a training, and taking it away."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from resume_daemon.cli.output import JSON_OPTION, print_json, say
from resume_daemon.cli.runs import RUN, STATE_DIR
from resume_daemon.errors import UsageError

if TYPE_CHECKING:
    from resume_daemon.cleanup.diagnosis import Diagnosis
    from resume_daemon.cleanup.survey import Survey
    from resume_daemon.cleanup.values import Outcome

_ROOTS: list[Path] = typer.Option(
    [],
    "--root",
    metavar="DIRECTORY",
    readable=False,
    help="Clean up this as well, such as where the training's code is; may be repeated.",
)

_UNDO: str | None = typer.Option(
    None, "--undo", metavar="ID", help="Put back what a clean-up has set aside, and do no more."
)


def command(
    run: Path = RUN,
    *,
    roots: list[Path] = _ROOTS,
    apply: bool = typer.Option(
        False, "--apply", help="Do it; without this, only the plan is shown."
    ),
    report_only: bool = typer.Option(
        False, "--report-only", help="Say what is wrong before a training; plan nothing."
    ),
    clean_only: bool = typer.Option(
        False, "--clean-only", help="Plan the clean-up, or --apply it; say nothing else."
    ),
    undo: str | None = _UNDO,
    as_json: bool = JSON_OPTION,
    state_dir: Path | None = STATE_DIR,
) -> None:
    """Find what is left over before a training; --apply removes it.

    Bytecode, temporary files, abandoned saves, a damaged W&B cache, and debug logs beyond the
    newest ten. Never a checkpoint, a live run of W&B, or anything outside of the run and the roots.
    """
    if report_only and (clean_only or apply):
        other = "--clean-only" if clean_only else "--apply"
        raise UsageError("clean up", run, f"--report-only and {other} exclude each other")
    if undo is not None:
        if report_only or clean_only or apply or roots:
            raise UsageError("take back the clean-up", undo, "--undo stands alone")
        _undo(run, undo, state_dir, as_json=as_json)
        return
    every = _roots(run, roots)
    diagnosis = None if clean_only else _diagnose(every[0])
    found = None if report_only else _survey(every)
    outcomes, place = _apply(found, state_dir) if apply and found is not None else ((), None)
    if as_json:
        print_json(_as_json(diagnosis, found, outcomes, place))
    else:
        for line in _lines(run, diagnosis, found, outcomes, place):
            say(line)
    if any(each.failed for each in outcomes) or (diagnosis is not None and diagnosis.failed):
        raise typer.Exit(1)


def _undo(run: Path, name: str, state_dir: Path | None, *, as_json: bool) -> None:
    from resume_daemon.cleanup.undo import put_back  # noqa: PLC0415 - heavy imports wait
    from resume_daemon.report.cleanup_plan import put_back_lines  # noqa: PLC0415 - as above

    every = put_back(_trash(_roots(run, [])[0], state_dir), name)
    if as_json:
        shown = [each.as_json() for each in every]
        print_json({"schema": 1, "put_back": shown, "diagnosis": None, "cleanup": None})
    else:
        for line in put_back_lines(every):
            say(line)
    if not all(each.done for each in every):
        raise typer.Exit(1)


def _trash(run: Path, state_dir: Path | None) -> Path:
    from resume_daemon.state_directory import choose_state_directory  # noqa: PLC0415 - as above

    return choose_state_directory(run, state_dir).path / "trash"


def _roots(run: Path, others: list[Path]) -> tuple[Path, ...]:
    from resume_daemon.cleanup.survey import choose_roots  # noqa: PLC0415 - heavy imports wait
    from resume_daemon.run_directory import check_run  # noqa: PLC0415 - as above

    real = check_run(run, "clean up", missing="Give the trainer's output directory.")
    return choose_roots(
        real, [check_run(each, "clean up", missing="Name another.") for each in others]
    )


def _diagnose(run: Path) -> Diagnosis:
    from resume_daemon.cleanup.diagnosis import diagnose  # noqa: PLC0415 - heavy imports wait

    return diagnose(run, os.environ)


def _survey(roots: tuple[Path, ...]) -> Survey:
    from resume_daemon.cleanup.survey import survey  # noqa: PLC0415 - heavy imports wait

    return survey(roots)


def _apply(found: Survey, state_dir: Path | None) -> tuple[tuple[Outcome, ...], Path | None]:
    from resume_daemon.cleanup.apply import apply  # noqa: PLC0415 - heavy imports wait

    if not found.plan.removals:
        return (), None
    trash = _trash(found.roots[0], state_dir)
    return apply(found.plan.removals, trash, now=datetime.now(UTC))


def _as_json(
    diagnosis: Diagnosis | None,
    found: Survey | None,
    outcomes: tuple[Outcome, ...],
    place: Path | None,
) -> dict[str, Any]:
    became = {each.removal.path: each for each in outcomes}
    removals = found.plan.removals if found is not None else ()
    done = [(each, became.get(each.path)) for each in removals]
    return {
        "schema": 1,
        "put_back": None,
        "diagnosis": None if diagnosis is None else diagnosis.as_json(),
        "cleanup": None
        if found is None
        else found.as_json()
        | {
            "removals": [
                each.as_json()
                | {
                    "done": None if outcome is None else outcome.done,
                    "outcome": None if outcome is None else outcome.why,
                }
                for each, outcome in done
            ],
            "set_aside_in": None if place is None else str(place),
        },
    }


def _lines(
    run: Path,
    diagnosis: Diagnosis | None,
    found: Survey | None,
    outcomes: tuple[Outcome, ...],
    place: Path | None,
) -> list[str]:
    from resume_daemon.report.cleanup_plan import (  # noqa: PLC0415 - only for people
        outcome_lines,
        plan_lines,
    )

    lines = diagnosis.lines(str(run)) if diagnosis is not None else []
    if found is None:
        return lines
    if outcomes:
        return [*lines, *outcome_lines(outcomes, place, str(run))]
    return [*lines, *plan_lines(found)]
