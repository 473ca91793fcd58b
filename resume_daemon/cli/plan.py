"""``resume-daemon plan RUN``: what to start now."""

from __future__ import annotations

from pathlib import Path

import typer

from resume_daemon.cli.output import JSON_OPTION, print_json, say
from resume_daemon.cli.planning import ANEW, DEGRADED, RUN_ID, make_plan
from resume_daemon.cli.runs import RUN, STATE_DIR


def command(
    run: Path = RUN,
    *,
    degraded: bool = DEGRADED,
    anew: bool = ANEW,
    run_id: str | None = RUN_ID,
    as_json: bool = JSON_OPTION,
    state_dir: Path | None = STATE_DIR,
) -> None:
    """Say which checkpoint to resume from, and with what.

    The newest sound checkpoint, why newer ones are refused, W&B's run and step at it, and its
    curriculum state. Nothing is changed. Ends with 1 where nothing may be resumed from.
    """
    from resume_daemon.report.resume_plan import plan_lines  # noqa: PLC0415 - heavy imports wait

    plan = make_plan(run, state_dir, degraded=degraded, anew=anew, run_id=run_id, show=not as_json)
    if as_json:
        print_json(plan.as_json())
    else:
        for line in plan_lines(plan, str(run)):
            say(line)
    if plan.chosen is None:
        raise typer.Exit(1)
