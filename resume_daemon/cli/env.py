"""``resume-daemon env RUN``: the environment of a resume, for a shell or for systemd."""

from __future__ import annotations

import os
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
from resume_daemon.cli.runs import RUN, STATE_DIR, sidecar
from resume_daemon.errors import ResumeDaemonError, UsageError

if TYPE_CHECKING:
    from resume_daemon.resume.environment import Environment, Shell

_SHELL: str | None = typer.Option(
    None, "--shell", metavar="SHELL", help="posix (bash, zsh, sh) or fish; by default the caller's."
)


def command(
    run: Path = RUN,
    *,
    wandb: str = WANDB,
    degraded: bool = DEGRADED,
    anew: bool = ANEW,
    run_id: str | None = RUN_ID,
    shell: str | None = _SHELL,
    systemd: bool = typer.Option(
        False, "--systemd", help="Write resume.env in the sidecar, for an EnvironmentFile=."
    ),
    state_dir: Path | None = STATE_DIR,
) -> None:
    """Print what to set and unset: eval "$(resume-daemon env RUN)".

    Where nothing may be resumed from, what is printed makes the eval fail.
    """
    from resume_daemon.resume.environment import environment, shell_lines  # noqa: PLC0415

    words = _shell(shell)
    try:
        plan = make_plan(run, state_dir, degraded=degraded, anew=anew, run_id=run_id, show=False)
        if plan.chosen is None:
            raise refusal(plan, run)
        found = environment(plan.chosen.path, choice_of(plan, wandb))
        if systemd:
            _write(found, sidecar(run, state_dir).resume_env)
            return
    except ResumeDaemonError as error:
        # The status of a command substitution is lost in an eval, unless what it evaluates fails.
        if not systemd:
            typer.echo("false")
        say_error(error)
        raise typer.Exit(2 if isinstance(error, UsageError) else 1) from None
    for doubt in (*plan.doubts, *left_alone(plan, os.environ)):
        note(f"not certain: {doubt}")
    for line in shell_lines(found, words):
        typer.echo(line)


def _write(found: Environment, path: Path) -> None:
    from resume_daemon.files import write_atomic  # noqa: PLC0415 - heavy imports wait
    from resume_daemon.resume.environment import systemd_lines  # noqa: PLC0415 - as above

    write_atomic(path, "".join(f"{line}\n" for line in systemd_lines(found)).encode())
    note(f"wrote {path}")


def _shell(asked: str | None) -> Shell:
    from resume_daemon.resume.environment import Shell  # noqa: PLC0415 - heavy imports wait

    if asked is None:
        try:
            caller = Path(f"/proc/{os.getppid()}/comm").read_text(encoding="utf-8").strip()
        except OSError:
            caller = ""
        return Shell.FISH if caller == "fish" else Shell.POSIX
    known = {"bash": Shell.POSIX, "zsh": Shell.POSIX, "sh": Shell.POSIX}
    known |= {each.value: each for each in Shell}
    if asked not in known:
        names = ", ".join(known)
        raise UsageError("write for the shell", asked, f"it is not known; there are {names}")
    return known[asked]
