"""What ``plan``, ``env`` and ``exec`` have in common: how they make a plan and choose from it."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from resume_daemon.cli.progress import progress
from resume_daemon.errors import ResumeDaemonError, UsageError
from resume_daemon.report.plain import plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from resume_daemon.resume.plan import ResumePlan
    from resume_daemon.resume.tracker import TrackerChoice
    from resume_daemon.state_directory import StateDirectory

DEGRADED: Any = typer.Option(
    False, "--degraded", help="A degraded checkpoint will do; what is lost is said."
)
ANEW: Any = typer.Option(
    False,
    "--anew",
    help="Read every byte again, also where nothing was touched since the daemon did.",
)
RUN_ID: Any = typer.Option(
    None, "--run-id", metavar="ID", help="W&B's run to go on with, where there are several."
)
WANDB: Any = typer.Option(
    "must",
    "--wandb",
    metavar="CHOICE",
    help="must goes on after the last row, rewind cuts what is trained again, fork does so in a "
    "new run, new begins one.",
)


def make_plan(
    run: Path,
    state_dir: Path | None,
    *,
    degraded: bool,
    anew: bool,
    run_id: str | None,
    show: bool,
) -> ResumePlan:
    """Return the resume plan of a run.

    Raises:
        UsageError: The run is missing or cannot be listed.
        ResumeDaemonError: Its ledger cannot be read.
    """
    from resume_daemon.resume.survey import Wishes, survey  # noqa: PLC0415 - heavy imports wait

    real, state = run_and_state(run, state_dir, "plan a resume of")
    _tell_interrupted(state)
    wishes = Wishes(degraded=degraded, anew=anew, run_id=run_id)
    with reading_bars(show=show) as watch:
        return survey(real, state, wishes, watch=watch)


def _tell_interrupted(state: StateDirectory | None) -> None:
    from resume_daemon.repair.store import RepairStore  # noqa: PLC0415 - heavy imports wait

    if state is None:
        return
    try:
        for identity in RepairStore(state.repairs).interrupted():
            note(f"the repair {identity} was interrupted, or is at work: some of its files are new")
            note("`resume-daemon repair RUN --apply` finishes it, or takes it back")
    except (OSError, ResumeDaemonError) as error:
        note(str(error))


def run_and_state(
    run: Path, state_dir: Path | None, operation: str
) -> tuple[Path, StateDirectory | None]:
    """Return the run with its links resolved, and where a daemon's files on it are, if any.

    Raises:
        UsageError: The run is missing or cannot be listed.
    """
    from resume_daemon.run_directory import check_run  # noqa: PLC0415 - heavy imports wait
    from resume_daemon.state_directory import find_state_directory  # noqa: PLC0415 - as above

    real = check_run(run, operation, missing="Give the trainer's output directory.")
    state = find_state_directory(real, state_dir)
    return real, state if state is not None and state.ledger.exists() else None


@contextmanager
def reading_bars(*, show: bool) -> Iterator[Callable[[Path], Callable[[int], None]]]:
    """Yield what is told of each checkpoint that is read, and shows how far that is."""
    from resume_daemon.layouts.registry import list_checkpoint  # noqa: PLC0415 - heavy imports wait

    bars: list[Any] = []

    def watch(path: Path) -> Callable[[int], None]:
        _close(bars)
        size = list_checkpoint(path, boundary=path.parent).total_bytes() if show else 0
        bar = progress(path.name, size, show=show)
        bars.append(bar)
        return bar.__enter__()

    try:
        yield watch
    finally:
        _close(bars)


def _close(bars: list[Any]) -> None:
    while bars:
        bars.pop().__exit__(None, None, None)


def choice_of(plan: ResumePlan, name: str) -> TrackerChoice | None:
    """Return what is done about the tracker's history; None where no tracker is known.

    Raises:
        UsageError: There is no such choice.
        ResumeDaemonError: It cannot be made at this checkpoint.
    """
    known = ("must", "rewind", "fork", "new")
    if name not in known:
        raise UsageError(
            "resume W&B's history with", name, f"there is no such way; there are {', '.join(known)}"
        )
    if plan.tracker is None:
        return None
    for each in plan.choices:
        if each.name == name:
            return each
    raise ResumeDaemonError(
        f"{name} W&B's history to",
        plan.chosen.name if plan.chosen is not None else None,
        "the step of W&B at this checkpoint was not recorded",
        hint="Choose --wandb must or --wandb new.",
    )


def left_alone(plan: ResumePlan, environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return a sentence where the environment names a run of W&B and nothing else knows of one."""
    from resume_daemon.resume.tracker import VARIABLES  # noqa: PLC0415 - heavy imports wait

    there = [f"{name}={environ[name]}" for name in VARIABLES if name in environ]
    if plan.tracker is not None or not there:
        return ()
    return (f"No run of W&B is known for this checkpoint; {', '.join(there)} is left as it is.",)


def note(sentence: str) -> None:
    """Tell the user on stderr: stdout belongs to a shell or to the trainer."""
    typer.echo(f"resume-daemon: {plain(sentence)}", err=True)


def refusal(plan: ResumePlan, run: Path) -> ResumeDaemonError:
    """Return why nothing may be resumed from."""
    shows = f"`resume-daemon plan {os.fspath(run)}` shows"
    if plan.gone:
        hint = "Look whether the right disk is mounted"
        if plan.backups:
            hint += f"; {shows} how to restore {plan.backups[0].checkpoint}"
        hint += ". exec --or-fresh --force begins anew."
        return ResumeDaemonError("resume", run, plan.gone_told, hint=hint)
    if not plan.refused:
        reason = "there is no checkpoint yet"
        return ResumeDaemonError("resume", run, reason, hint="Start from the beginning.")
    newest = plan.refused[0]
    verdict = "could not be judged" if newest.verdict is None else f"is {newest.verdict.value}"
    why = f" ({newest.why[0]})" if newest.why else ""
    count = f", and so are {n} older ones" if (n := len(plan.refused) - 1) else ""
    hint = f"{shows} each"
    if plan.backups:
        hint += f", and how to restore {plan.backups[0].checkpoint} from its backup"
    if any(each.verdict is not None and each.verdict.value == "degraded" for each in plan.refused):
        hint += "; with --degraded it takes one from which something is lost"
    return ResumeDaemonError("resume", run, f"{newest.name} {verdict}{why}{count}", hint=f"{hint}.")
