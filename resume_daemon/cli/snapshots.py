"""``resume-daemon snapshots list|show|diff|restore``: what is kept for each checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from resume_daemon.cli.output import JSON_OPTION, console, print_json
from resume_daemon.cli.runs import RUN, STATE_DIR, real, sidecar

if TYPE_CHECKING:
    from resume_daemon.curriculum.snapshot import Snapshot

app = typer.Typer(
    help="Curriculum and configuration kept for each checkpoint.", no_args_is_help=True
)

_CHECKPOINT = typer.Argument(..., help="A checkpoint's directory name, such as checkpoint-100.")


@app.command("list")
def list_(run: Path = RUN, *, as_json: bool = JSON_OPTION, state_dir: Path = STATE_DIR) -> None:
    """List the snapshots and the curriculum state in each."""
    from rich.table import Table  # noqa: PLC0415 - only for people

    from resume_daemon.curriculum.snapshot import list_snapshots, read_snapshot  # noqa: PLC0415

    found = [read_snapshot(path) for path in list_snapshots(sidecar(run, state_dir).snapshots)]
    found.sort(key=lambda each: each.index.step)
    if as_json:
        print_json({"schema": 1, "snapshots": [each.index.as_json() for each in found]})
        return
    table = Table("checkpoint", "stage", "curriculum", "files", pad_edge=False)
    for each in found:
        main = next(iter(each.index.curriculum.values()), None)
        table.add_row(
            each.index.checkpoint,
            str(main.stage) if main else "-",
            main.sentence if main else "no curriculum state was seen",
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
    """Show what one snapshot holds."""
    snapshot = _read(run, checkpoint, state_dir)
    if as_json:
        print_json(snapshot.index.as_json())
        return
    out = console()
    out.print(f"[bold]{checkpoint}[/bold] (verified just now) in {snapshot.directory}")
    for file, assignment in snapshot.index.curriculum.items():
        out.print(f"  {file}: stage {assignment.stage}, {assignment.sentence}", markup=False)
    for name, digest in snapshot.index.files.items():
        out.print(f"  {digest.digest[:12]} {digest.size:>10} {name}", markup=False)


@app.command()
def diff(
    run: Path = RUN,
    before: str = _CHECKPOINT,
    after: str = _CHECKPOINT,
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
    out = console()
    if not differences:
        out.print("neither snapshot holds a curriculum state")
    for file, difference in differences.items():
        out.print(f"[bold]{file}[/bold]")
        for change in difference.changes:
            out.print(f"  {change.path}: {change.before} -> {change.after}", markup=False)
        if difference.more:
            out.print(f"  and {difference.more} more")


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
    """Put the curriculum state of a checkpoint back into the run; what is there is kept."""
    from resume_daemon.curriculum.restore import apply as apply_plan  # noqa: PLC0415 - as above
    from resume_daemon.curriculum.restore import plan_restore  # noqa: PLC0415 - as above
    from resume_daemon.curriculum.versions import VersionStore  # noqa: PLC0415 - as above

    plan = plan_restore(_read(run, checkpoint, state_dir), real(run))
    if not plan.steps:
        typer.echo(f"Nothing to do: the run has the curriculum state of {checkpoint} already.")
        return
    if not apply:
        for step in plan.steps:
            typer.echo(f"would write {step.target}: {step.sentence}")
        typer.echo("Stop the trainer first. Run again with --apply to do it; a backup is kept.")
        return
    apply_plan(plan, VersionStore(sidecar(run, state_dir).curriculum), say=typer.echo)


def _read(run: Path, checkpoint: str, state_dir: Path | None) -> Snapshot:
    from resume_daemon.curriculum.snapshot import list_snapshots, read_snapshot  # noqa: PLC0415
    from resume_daemon.errors import UsageError  # noqa: PLC0415

    snapshots = sidecar(run, state_dir).snapshots
    known = [path.name for path in list_snapshots(snapshots)]
    if checkpoint not in known:
        raise UsageError(
            "read the snapshot of",
            checkpoint,
            "there is none",
            hint=f"There are: {', '.join(known) or 'none yet'}.",
        )
    return read_snapshot(snapshots / checkpoint)
