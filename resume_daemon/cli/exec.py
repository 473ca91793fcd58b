"""``resume-daemon exec RUN -- COMMAND``: start the trainer from the right checkpoint."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from resume_daemon.cli.output import say_error
from resume_daemon.cli.planning import (
    ANEW,
    DEGRADED,
    RUN_ID,
    WANDB,
    choice_of,
    left_alone,
    make_plan,
    note,
    refusal,
)
from resume_daemon.cli.repairing import settle_interrupted
from resume_daemon.cli.runs import RUN, STATE_DIR, sidecar
from resume_daemon.errors import ResumeDaemonError, UsageError
from resume_daemon.resume.command import Placed, place, with_checkpoint
from resume_daemon.resume.restarts import Restarts

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from resume_daemon.config.settings import Settings
    from resume_daemon.resume.plan import Candidate, ResumePlan

_COMMAND: list[str] = typer.Argument(
    ..., metavar="COMMAND...", help="The trainer; {checkpoint} stands for the checkpoint's path."
)
_CONFIG: Path | None = typer.Option(
    None, "--config", "-c", metavar="FILE", help="The daemon's configuration."
)
_CURRICULUM: str | None = typer.Option(
    None,
    "--curriculum",
    metavar="restore|keep",
    help="What to do where the run has another curriculum state than the checkpoint's.",
)


def command(
    run: Path = RUN,
    arguments: list[str] = _COMMAND,
    *,
    wandb: str = WANDB,
    degraded: bool = DEGRADED,
    anew: bool = ANEW,
    run_id: str | None = RUN_ID,
    curriculum: str | None = _CURRICULUM,
    fresh: bool = typer.Option(
        False, "--or-fresh", help="Start from the beginning where there is no checkpoint yet."
    ),
    force: bool = typer.Option(
        False, "--force", help="Take the newest checkpoint whatever it is; the risk is said."
    ),
    max_restarts: int = typer.Option(
        0, "--max-restarts", min=0, metavar="N", help="Start again so often when it fails."
    ),
    pause: float = typer.Option(
        5.0, "--pause", min=0, max=300, metavar="SECONDS", help="Before it starts again."
    ),
    config: Path | None = _CONFIG,
    state_dir: Path | None = STATE_DIR,
) -> None:
    """Start the trainer from the newest sound checkpoint.

    Stale variables are cleared, W&B's run is named, and the path is given as
    RESUME_FROM_CHECKPOINT_DIR, where {checkpoint} stands, as the value of --resume_from_checkpoint,
    or as the configuration says. Where nothing sound is there, it refuses and says why. Signals and
    the exit status are the trainer's.
    """
    if curriculum not in {None, "restore", "keep"}:
        raise UsageError("treat the curriculum with", curriculum, "say restore or keep")
    _check_command(arguments)
    template: tuple[str, ...] = ()
    if config is not None:
        settings = _settings(config, run)
        template = settings.resume.arguments
        state_dir = state_dir or settings.state_dir
    placed = place(arguments, template)

    def ready() -> tuple[tuple[str, ...], dict[str, str], int]:
        if not force:
            settle_interrupted(run, state_dir)
        made = make_plan(run, state_dir, degraded=degraded, anew=anew, run_id=run_id, show=True)
        chosen = _chosen(made, run, fresh=fresh, force=force)
        if chosen is not None:
            _settle_curriculum(made, run, state_dir, curriculum)
        return _start(made, chosen, placed, wandb)

    words, environ, step = ready()
    if not max_restarts:
        # It becomes the trainer: no process in between can lose a signal or a status.
        os.execvpe(words[0], words, environ)  # noqa: S606 - it is what was asked for
    restarts = Restarts(max_restarts, step, pause)
    raise typer.Exit(_keep_running(ready, words, environ, restarts))


def _settings(config: Path, run: Path) -> Settings:
    """Return the daemon's configuration of this run.

    Raises:
        UsageError: It cannot be used, or is that of another run.
    """
    from resume_daemon.config.load import load_settings  # noqa: PLC0415 - heavy imports wait

    settings = load_settings(config, {})
    if settings.run is not None and Path(settings.run).resolve() != run.resolve():
        raise UsageError(
            "start the trainer of", run, f"{config} is the configuration of {settings.run}"
        )
    return settings


def _check_command(arguments: Sequence[str]) -> None:
    if shutil.which(arguments[0]) is None:
        raise UsageError("start", arguments[0], "there is no such program")


def _chosen(made: ResumePlan, run: Path, *, fresh: bool, force: bool) -> Candidate | None:
    """Return what to start from; None for the beginning.

    Raises:
        ResumeDaemonError: Nothing may be resumed from.
    """
    if made.chosen is not None:
        return made.chosen
    if made.refused and force:
        newest = made.refused[0]
        for each in newest.why or ("what it holds could not be judged",):
            note(f"at risk: {newest.name}: {each}")
        return newest
    if not made.refused and fresh and (force or not made.gone):
        what = "any more" if made.gone else "yet"
        note(f"no checkpoint {what}: the trainer starts from the beginning")
        return None
    error = refusal(made, run)
    if not made.refused and not made.gone:
        hint = "With --or-fresh the trainer starts from the beginning."
        raise ResumeDaemonError(error.operation, error.path, error.reason, hint=hint)
    raise error


def _settle_curriculum(
    made: ResumePlan, run: Path, state_dir: Path | None, wish: str | None
) -> None:
    """Put the curriculum state of the checkpoint in place, where that is asked for.

    Raises:
        ResumeDaemonError: The run has another one, and nothing was said about it.
    """
    from resume_daemon.curriculum.restore import apply, plan_restore  # noqa: PLC0415
    from resume_daemon.curriculum.snapshot import read_snapshot  # noqa: PLC0415 - as above
    from resume_daemon.curriculum.versions import VersionStore  # noqa: PLC0415 - as above

    other = [point for point in made.curriculum if not point.in_place]
    if not other or made.chosen is None or wish == "keep":
        return
    if wish is None:
        raise ResumeDaemonError(
            "resume",
            run,
            f"{other[0].file} is another one than that of {made.chosen.name}: {other[0].sentence}",
            hint="Say --curriculum restore to put that back (a backup is kept), or "
            "--curriculum keep.",
        )
    state = sidecar(run, state_dir)
    plan = plan_restore(read_snapshot(state.snapshots / made.chosen.name), made.run)
    apply(plan, VersionStore(state.curriculum), say=note)


def _start(
    made: ResumePlan, chosen: Candidate | None, placed: Placed, wandb: str
) -> tuple[tuple[str, ...], dict[str, str], int]:
    """Return the command, its environment, and the step that it resumes from."""
    from resume_daemon.resume.environment import (  # noqa: PLC0415 - heavy imports wait
        CHECKPOINT_VARIABLE,
        environment,
    )

    path = chosen.path if chosen is not None else None
    choice = choice_of(made, wandb) if made.chosen is not None else None
    found = environment(path, choice)
    if chosen is not None:
        how = f"as {CHECKPOINT_VARIABLE}"
        if placed.how is not None:
            how += f" and {placed.how}"
        verdict = "not judged" if chosen.verdict is None else chosen.verdict.value
        note(f"resume from {chosen.name} ({verdict}), given {how}")
    if choice is not None:
        note(f"W&B, {choice.name}: {choice.consequence}")
    for doubt in (*made.doubts, *left_alone(made, os.environ)):
        note(f"not certain: {doubt}")
    step = -1 if chosen is None or chosen.step is None else chosen.step
    return with_checkpoint(placed.command, path), found.applied_to(os.environ), step


def _keep_running(
    ready: Callable[[], tuple[tuple[str, ...], dict[str, str], int]],
    words: tuple[str, ...],
    environ: dict[str, str],
    restarts: Restarts,
) -> int:
    from resume_daemon.resume.child import run_child  # noqa: PLC0415 - only for restarts

    while True:
        ended = run_child(words, environ)
        if ended.asked_to_stop:
            return ended.status
        step: int | None = None
        if ended.status and restarts.made < restarts.most:
            try:
                words, environ, step = ready()
            except ResumeDaemonError as error:
                say_error(error)
        decision = restarts.after(ended.status, step)
        if decision.pause is None:
            note(f"not started again: {decision.reason}; the trainer ended with {ended.status}")
            return ended.status
        note(f"the trainer ended with {ended.status}; it starts again in {decision.pause:g} s")
        time.sleep(decision.pause)
