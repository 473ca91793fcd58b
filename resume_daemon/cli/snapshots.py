"""``resume-daemon snapshots list|show|diff|restore``: what is kept for each checkpoint."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from resume_daemon.cli.output import JSON_OPTION, console, print_json, say, say_error
from resume_daemon.cli.runs import RUN, STATE_DIR, sidecar
from resume_daemon.errors import ResumeDaemonError, UsageError
from resume_daemon.report.plain import plain

if TYPE_CHECKING:
    from resume_daemon.curriculum.snapshot import Snapshot

app = typer.Typer(
    help="Curriculum and configuration kept for each checkpoint.", no_args_is_help=True
)

_NAME_HELP = "A checkpoint's directory name, such as checkpoint-100."
_CHECKPOINT = typer.Argument(..., metavar="CHECKPOINT", help=_NAME_HELP)
_BEFORE = typer.Argument(..., metavar="BEFORE", help=_NAME_HELP)
_AFTER = typer.Argument(..., metavar="AFTER", help="Another one's.")


@app.command("list")
def list_(run: Path = RUN, *, as_json: bool = JSON_OPTION, state_dir: Path = STATE_DIR) -> None:
    """List the snapshots; status 1 if one is damaged."""
    from resume_daemon.curriculum.snapshot import list_snapshots, read_snapshot  # noqa: PLC0415

    found: list[Snapshot] = []
    damaged: dict[Path, ResumeDaemonError] = {}
    for path in list_snapshots(sidecar(run, state_dir).snapshots):
        try:
            found.append(read_snapshot(path))
        except ResumeDaemonError as error:
            damaged[path] = error
            say_error(error)
    found.sort(key=lambda each: each.index.step)
    if as_json:
        print_json(
            {
                "schema": 1,
                "snapshots": [each.index.as_json() for each in found],
                "errors": [{"path": str(p), "message": str(e)} for p, e in damaged.items()],
            }
        )
    else:
        _print_table(found)
    if damaged:
        raise typer.Exit(1)


def _print_table(snapshots: list[Snapshot]) -> None:
    from resume_daemon.report.console import narrow_table  # noqa: PLC0415 - only for people

    if not snapshots:
        say("no snapshot yet: one is taken when a checkpoint has been verified")
        return
    table = narrow_table("checkpoint", "stage", "curriculum", "files")
    for each in snapshots:
        main = next(iter(each.index.curriculum.values()), None)
        table.add_row(
            plain(each.index.checkpoint),
            plain(str(main.stage)) if main and main.stage is not None else "-",
            plain(main.sentence) if main else "no curriculum state was seen",
            str(len(each.index.files)),
        )
    console().print(table)


@app.command()
def show(
    run: Path = RUN,
    checkpoint: str = _CHECKPOINT,
    *,
    as_json: bool = JSON_OPTION,
    state_dir: Path = STATE_DIR,
) -> None:
    """Show what one snapshot holds, once it is verified."""
    snapshot = _read(run, checkpoint, state_dir)
    if as_json:
        print_json(snapshot.index.as_json())
        return
    say(f"{checkpoint}, every file verified, in {snapshot.directory}")
    for file, assignment in snapshot.index.curriculum.items():
        stage = "" if assignment.stage is None else f"stage {assignment.stage}, "
        say(f"  {file}: {stage}{assignment.sentence}")
    for name, digest in snapshot.index.files.items():
        say(f"  {digest.digest[:12]} {digest.size:>10} {name}")


@app.command()
def diff(
    run: Path = RUN,
    before: str = _BEFORE,
    after: str = _AFTER,
    *,
    as_json: bool = JSON_OPTION,
    state_dir: Path = STATE_DIR,
) -> None:
    """Show how the curriculum state of two checkpoints differs."""
    from resume_daemon.curriculum.diff import compare_states  # noqa: PLC0415 - heavy imports wait
    from resume_daemon.curriculum.schemas import known_schemas  # noqa: PLC0415 - as above
    from resume_daemon.curriculum.snapshot import CURRICULUM  # noqa: PLC0415 - as above

    old, new = _read(run, before, state_dir), _read(run, after, state_dir)
    differences = {}
    for name in sorted({*old.index.files, *new.index.files}):
        if not name.startswith(CURRICULUM):
            continue
        before_, after_ = (s.content(name) if name in s.index.files else b"" for s in (old, new))
        file = name.removeprefix(CURRICULUM)
        differences[file] = compare_states(file, before_, after_, known_schemas())
    if as_json:
        print_json({"schema": 1, "files": {f: d.as_json() for f, d in differences.items()}})
        return
    if not differences:
        say("neither snapshot holds a curriculum state")
    for file, difference in differences.items():
        say(f"{file}: {'differs' if difference.changes else 'the same'}")
        for change in difference.changes:
            say(f"  {change.path}: {change.before} -> {change.after}")
        if difference.more:
            say(f"  and {difference.more} more")


@app.command()
def restore(
    run: Path = RUN,
    checkpoint: str = _CHECKPOINT,
    *,
    apply: bool = typer.Option(
        False, "--apply", help="Do it; without this, only the plan is shown."
    ),
    state_dir: Path = STATE_DIR,
) -> None:
    """Put a checkpoint's curriculum state back into the run.

    Without --apply only the plan is shown. What is there now is backed up first.
    """
    from resume_daemon.curriculum.restore import apply as apply_plan  # noqa: PLC0415 - as above
    from resume_daemon.curriculum.restore import plan_restore  # noqa: PLC0415 - as above
    from resume_daemon.curriculum.versions import VersionStore  # noqa: PLC0415 - as above

    plan = plan_restore(_read(run, checkpoint, state_dir), Path(os.path.realpath(run)))
    if not plan.steps:
        say(f"Nothing to do: the run has the curriculum state of {checkpoint} already.")
        return
    if not apply:
        for step in plan.steps:
            say(f"would write {step.target}: {step.sentence}")
        say("Stop the trainer first. Run again with --apply to do it; a backup is kept.")
        return
    apply_plan(plan, VersionStore(sidecar(run, state_dir).curriculum), say=say)


def _read(run: Path, checkpoint: str, state_dir: Path | None) -> Snapshot:
    from resume_daemon.curriculum.snapshot import list_snapshots, read_snapshot  # noqa: PLC0415

    snapshots = sidecar(run, state_dir).snapshots
    known = sorted((p.name for p in list_snapshots(snapshots)), key=lambda n: (len(n), n))
    if checkpoint not in known:
        raise UsageError(
            "read the snapshot of",
            checkpoint,
            "there is none",
            hint=f"There are: {', '.join(known) or 'none yet'}.",
        )
    return read_snapshot(snapshots / checkpoint)
