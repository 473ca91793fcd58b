"""``resume-daemon curriculum RUN``: what is wrong with the curriculum state, and its repair."""

from __future__ import annotations

import os
import shlex
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from resume_daemon.cli.output import JSON_OPTION, console, print_json, say
from resume_daemon.cli.repairing import working
from resume_daemon.cli.runs import STATE_DIR
from resume_daemon.errors import UsageError
from resume_daemon.report.plain import plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from resume_daemon.config.settings import Settings
    from resume_daemon.curriculum.diagnosis import Diagnosis, Look
    from resume_daemon.curriculum.proposal import Proposal
    from resume_daemon.state_directory import StateDirectory

_RUN: Path = typer.Argument(
    Path(), metavar="RUN", readable=False, help="The run: the trainer's output directory."
)
_RESTORE: str | None = typer.Option(
    None, "--restore", metavar="CHECKPOINT", help="Put back the version of this checkpoint."
)
_FILE: str | None = typer.Option(
    None, "--file", metavar="NAME", help="The state file to make anew, where there are several."
)
_CHECKPOINT: str | None = typer.Option(
    None,
    "--checkpoint",
    metavar="CHECKPOINT",
    help="The checkpoint that the state should belong to; the newest unless given.",
)
_CODE: list[Path] | None = typer.Option(
    None,
    "--code",
    metavar="PATH",
    readable=False,
    help="The manager's and callbacks' code, a file or a directory; it is read and never run.",
)
_CONFIG: Path | None = typer.Option(
    None, "--config", "-c", metavar="FILE", help="The daemon's configuration."
)


def command(
    run: Path = _RUN,
    *,
    diagnose: bool = typer.Option(
        False, "--diagnose", help="Say what is wrong; nothing is changed (the default)."
    ),
    create_fresh: bool = typer.Option(
        False, "--create-fresh", help="Make a fresh state at the step of --checkpoint."
    ),
    auto_fix: bool = typer.Option(
        False, "--auto-fix", help="Restore, rebuild or make anew: only what is needed."
    ),
    restore: str | None = _RESTORE,
    file: str | None = _FILE,
    checkpoint: str | None = _CHECKPOINT,
    apply: bool = typer.Option(
        False, "--apply", help="Do it; without this, only the plan is shown."
    ),
    code: list[Path] | None = _CODE,
    config: Path | None = _CONFIG,
    as_json: bool = JSON_OPTION,
    state_dir: Path | None = STATE_DIR,
) -> None:
    """Find and repair what is wrong with the curriculum state.

    The state files, their history against the checkpoint and its log, and the code of the manager
    and callbacks, which is read and never run. Repairs are only shown unless --apply is given.
    """
    from resume_daemon.curriculum.diagnosis import diagnose as look_at  # noqa: PLC0415 - as below
    from resume_daemon.run_directory import check_run  # noqa: PLC0415 - heavy imports wait
    from resume_daemon.state_directory import find_state_directory  # noqa: PLC0415 - as above

    mode = _mode(
        diagnose=diagnose,
        create_fresh=create_fresh,
        auto_fix=auto_fix,
        restore=restore is not None,
    )
    if create_fresh and checkpoint is None:
        hint = "Give --checkpoint: the state begins at its step."
        raise UsageError("make a fresh curriculum state", None, "no checkpoint is named", hint=hint)
    if file is not None and not create_fresh:
        raise UsageError("choose the file", file, "--file is for --create-fresh alone")
    if apply and mode == "diagnose":
        raise UsageError("apply", None, "a diagnosis changes nothing", hint="Name a repair.")
    real = check_run(run, "look at the curriculum of", missing="Give the output directory.")
    settings = _settings(config, real)
    state_dir = state_dir or (settings.state_dir if settings is not None else None)
    state = find_state_directory(real, state_dir)
    found = look_at(real, state, _look(settings, code or []), checkpoint)
    if mode == "diagnose":
        if as_json:
            print_json({"schema": 1, "mode": mode, **found.as_json()})
        else:
            _print(found)
        raise typer.Exit(0 if found.is_sound else 1)
    proposals = _proposals(mode, found, state, restore, file)
    if not as_json:
        _show(proposals, done=apply)
    writes = any(each.steps for each in proposals)
    repair = _apply(proposals, real, state_dir, quiet=as_json) if apply and writes else None
    if as_json:
        actions = [each.as_json() for each in proposals]
        document = {**found.as_json(), "actions": actions, "repair": repair}
        print_json({"schema": 1, "mode": mode, **document})
    elif writes and not apply:
        say("Stop the trainer first. Run again with --apply to do it; a backup is kept.")
    if any(each.stays_wrong for each in proposals):
        raise typer.Exit(1)


def _mode(**asked: bool) -> str:
    """Return the one mode that is asked for, or the diagnosis.

    Raises:
        UsageError: Several are.
    """
    names = [name.replace("_", "-") for name, given in asked.items() if given]
    if len(names) > 1:
        raise UsageError(
            "repair the curriculum", None, f"only one of --{' and --'.join(names)} can be done"
        )
    return names[0] if names else "diagnose"


def _settings(config: Path | None, run: Path) -> Settings | None:
    """Return the daemon's configuration of this run.

    Raises:
        UsageError: It cannot be used, or is that of another run.
    """
    from resume_daemon.config.load import load_settings  # noqa: PLC0415 - heavy imports wait

    if config is None:
        return None
    settings = load_settings(config, {})
    if settings.run is not None and Path(os.path.realpath(settings.run)) != run:
        raise UsageError(
            "look at the curriculum of",
            run,
            f"{config} is the configuration of {settings.run}",
        )
    return settings


def _look(settings: Settings | None, code: Sequence[Path]) -> Look:
    from resume_daemon.curriculum.diagnosis import Look  # noqa: PLC0415 - heavy imports wait
    from resume_daemon.daemon.setup import make_schemas  # noqa: PLC0415 - as above

    if settings is None:
        return Look(code=tuple(code), working=Path.cwd())
    return Look(
        schemas=make_schemas(settings),
        patterns=settings.curriculum.files,
        ahead_limit=settings.curriculum.max_lead_steps,
        behind_limit=settings.curriculum.max_lag_steps,
        code=tuple(code),
        methods=settings.curriculum.manager_methods,
        working=Path.cwd(),
    )


def _proposals(
    mode: str, found: Diagnosis, state: StateDirectory | None, restore: str | None, file: str | None
) -> tuple[Proposal, ...]:
    from resume_daemon.curriculum import choosing  # noqa: PLC0415 - heavy imports wait

    if mode == "create-fresh":
        return (choosing.propose_fresh(found, datetime.now(UTC), file),)
    if mode == "auto-fix":
        return choosing.propose_fixes(found, state, datetime.now(UTC))
    return choosing.propose_restore(found, state, str(restore))


def _apply(proposals: Sequence[Proposal], run: Path, state_dir: Path | None, *, quiet: bool) -> str:
    """Carry out what was proposed, and return the id to take it back with."""
    from resume_daemon.repair.proposals import Proposal as Repair  # noqa: PLC0415 - heavy imports

    repairs = [
        Repair(f"curriculum_{each.action.value}", None, each.why, each.steps)
        for each in proposals
        if each.steps
    ]
    with working(run, state_dir) as (engine, _):
        for sentence in engine.recover():
            _tell(sentence, quiet=quiet)
        repair = engine.apply(repairs, datetime.now(UTC))
    for each in proposals:
        for step in each.steps:
            _tell(f"wrote {step.target}: {step.sentence}", quiet=quiet)
    back = f"resume-daemon repair {shlex.quote(str(run))} --undo {repair.id}"
    _tell(f"take it back with `{back}`", quiet=quiet)
    return repair.id


def _tell(sentence: str, *, quiet: bool) -> None:
    if quiet:
        typer.echo(plain(sentence), err=True)
    else:
        say(sentence)


def _show(proposals: Sequence[Proposal], *, done: bool) -> None:
    if not proposals:
        say("The run has no curriculum state: there is nothing to repair.")
    for each in proposals:
        say(f"{each.file}: {each.action.value}: {each.why}")
        for note in each.notes:
            say(f"  {note}")
        for step in () if done else each.steps:
            say(f"  would write {step.target}: {step.sentence}")


def _print(found: Diagnosis) -> None:
    from resume_daemon.report.console import finding_lines  # noqa: PLC0415 - only for people
    from resume_daemon.report.curriculum import diagnosis_lines  # noqa: PLC0415 - as above

    for line in diagnosis_lines(found):
        say(line)
    out = console()
    for each in finding_lines(found.findings):
        out.print(each)
