"""``resume-daemon restore RUN BACKUP``: put a backup back, proved before it has its name."""

from __future__ import annotations

from pathlib import Path

import typer

from resume_daemon.cli.backing_up import (
    CONFIG,
    address_of,
    ledger_of,
    paced,
    settings_of,
)
from resume_daemon.cli.output import JSON_OPTION, console, print_json, say
from resume_daemon.cli.progress import progress
from resume_daemon.cli.runs import RUN, STATE_DIR

_BACKUP: str = typer.Argument(
    ..., metavar="BACKUP", help="A backup as `backup --list` names it, or a checkpoint's name."
)
_FROM: str | None = typer.Option(
    None, "--from", metavar="DIRECTORY|URL", help="Where backups are, as given to `backup --to`."
)
_TO: Path | None = typer.Option(
    None, "--to", metavar="DIRECTORY", readable=False, help="Another directory than the run."
)

ROTATION = (
    "It has the modification time that it had: a trainer that keeps only some checkpoints counts "
    "it as old as it is, and may remove it at its next save. The backup stays."
)


def command(
    run: Path = RUN,
    backup: str = _BACKUP,
    *,
    source: str | None = _FROM,
    to: Path | None = _TO,
    config: Path | None = CONFIG,
    as_json: bool = JSON_OPTION,
    state_dir: Path | None = STATE_DIR,
) -> None:
    """Put a backup back, proved byte by byte.

    Never over anything: what is fetched lies in .restoring until every byte was compared, and gets
    the checkpoint's name then. Ends with 1 where the backup is damaged, or what was put back is
    unsound.
    """
    from resume_daemon.backup.finding import find_backup  # noqa: PLC0415 - heavy imports wait
    from resume_daemon.backup.restoring import restore  # noqa: PLC0415 - as above
    from resume_daemon.daemon.setup import check_run  # noqa: PLC0415 - as above
    from resume_daemon.findings import Verdict  # noqa: PLC0415 - as above
    from resume_daemon.report.console import finding_lines  # noqa: PLC0415 - as above

    real = check_run(run, "restore to", missing="Make it first.")
    directory = real if to is None else check_run(to, "restore to", missing="Make it first.")
    settings = settings_of(config, real)
    _, known = ledger_of(real, state_dir or settings.state_dir)
    address = address_of(source, "--from", settings, known, real)
    found, destination = find_backup(address, real, backup.rstrip("/"))
    with progress(found.id, found.size, show=not as_json) as tell:
        # At the usual priority: a training waits for it, and not the other way round.
        restored = paced(
            lambda pace: restore(found, destination, directory, pace), settings, tell, idle=False
        )
    seen = restored.verification
    if as_json:
        print_json(
            {
                "schema": 1,
                "backup": found.id,
                "destination": destination.label,
                "checkpoint": found.checkpoint,
                "path": str(restored.path),
                "size": found.size,
                "fetched": restored.fetched,
                "verdict": seen.verdict.value,
                "findings": [finding.as_json() for finding in seen.findings],
                "left_out": list(found.left_out),
            }
        )
    else:
        say(
            f"{restored.path} is back from {found.id}: {len(found.files)} files, {found.size} "
            f"bytes, every one as it was backed up; it is {seen.verdict.value}"
        )
        for line in finding_lines(seen.findings):
            console().print(line)
        for name in found.left_out:
            say(f"  {name} led out of the run, or was no file, and was not backed up")
        say(ROTATION)
    if seen.verdict not in {Verdict.SOUND, Verdict.DEGRADED}:
        raise typer.Exit(1)
