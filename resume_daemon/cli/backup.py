"""``resume-daemon backup RUN``: keep checkpoints elsewhere, proved by their digests."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from resume_daemon.cli.backing_up import (
    CONFIG,
    address_of,
    ledger_of,
    paced,
    settings_of,
)
from resume_daemon.cli.output import JSON_OPTION, console, print_json, say, say_error
from resume_daemon.cli.progress import progress
from resume_daemon.cli.runs import RUN, STATE_DIR
from resume_daemon.errors import ResumeDaemonError, UsageError
from resume_daemon.report.plain import plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from resume_daemon.backup.choosing import Chooser
    from resume_daemon.backup.copying import Outcome, Subject
    from resume_daemon.backup.destinations import Destination
    from resume_daemon.backup.inventory import Inventory
    from resume_daemon.backup.reading_back import Damage
    from resume_daemon.backup.record import Backup
    from resume_daemon.config.settings import Settings

_CHECKPOINTS: list[str] | None = typer.Option(
    None, "--checkpoint", metavar="NAME", help="Which; again for more. The newest sound one else."
)
_TO: str | None = typer.Option(
    None, "--to", metavar="DIRECTORY|URL", help="Where to, such as /backups or s3://bucket/prefix."
)


@dataclass(slots=True)
class _Told:
    """One backup as it is told of."""

    backup: Backup
    state: str
    sent: int = 0
    how: tuple[str, ...] = ()
    damages: tuple[Damage, ...] = ()

    def as_json(self) -> dict[str, Any]:
        from resume_daemon.backup.codes import BACKUP_DAMAGED  # noqa: PLC0415 - heavy imports wait

        backup = self.backup
        findings = [BACKUP_DAMAGED.finding(d.reason, file=d.file) for d in self.damages]
        return {
            "backup": backup.id,
            "checkpoint": backup.checkpoint,
            "step": backup.step,
            "verdict": backup.verdict,
            "at": backup.at,
            "policy": backup.policy,
            "size": backup.size,
            "state": self.state,
            "sent": self.sent,
            "how": list(self.how),
            "findings": [finding.as_json() for finding in findings],
        }


def command(
    run: Path = RUN,
    *,
    checkpoints: list[str] | None = _CHECKPOINTS,
    to: str | None = _TO,
    listing: bool = typer.Option(False, "--list", help="Show the backups; copy nothing."),
    checking: bool = typer.Option(
        False, "--verify", help="Read every byte of the backups again; copy nothing."
    ),
    config: Path | None = CONFIG,
    as_json: bool = JSON_OPTION,
    state_dir: Path | None = STATE_DIR,
) -> None:
    """Copy checkpoints elsewhere, proved by digest.

    What is there already is not sent again, so an interrupted backup goes on where it was. The run
    is only read. Without --to, the destination is that of --config, or of the last backup that the
    daemon made. Ends with 1 where something could not be backed up or is damaged.
    """
    from resume_daemon.backup.address import folder_of  # noqa: PLC0415 - heavy imports wait
    from resume_daemon.backup.choosing import Chooser  # noqa: PLC0415 - as above
    from resume_daemon.backup.destinations import open_destination  # noqa: PLC0415 - as above
    from resume_daemon.backup.inventory import take_inventory  # noqa: PLC0415 - as above
    from resume_daemon.daemon.setup import check_run  # noqa: PLC0415 - as above
    from resume_daemon.verification import Options  # noqa: PLC0415 - as above

    if listing and checking:
        raise UsageError("list and verify the backups of", run, "give only one of the two")
    real = check_run(run, "back up", missing="Give the trainer's output directory.")
    settings = settings_of(config, real)
    state, known = ledger_of(real, state_dir or settings.state_dir)
    address = address_of(to, "--to", settings, known, real)
    destination = open_destination(address, folder_of(real), hard_links=settings.backup.hard_links)
    # Before anything is read: what is not there, or not allowed, is said at once.
    inventory = take_inventory(destination)
    work = _Work(destination, settings, show=not as_json)
    if listing or checking:
        work.look(inventory, checkpoints or (), checking=checking)
    else:
        chooser = Chooser(real, state, known, options=Options())
        if checkpoints:
            work.copy(chooser.named(checkpoints), anew=True)
        else:
            work.copy(_newest(chooser), anew=False)
        inventory = take_inventory(destination)
    work.errors += [
        ResumeDaemonError("read the backup", f"{destination.label}/{identity}", reason)
        for identity, reason in inventory.damaged
    ]
    if as_json:
        print_json(
            {
                "schema": 1,
                "destination": destination.label,
                "backups": [each.as_json() for each in work.told],
                "unfinished": list(inventory.unfinished),
                "errors": [
                    {"path": None if e.path is None else str(e.path), "message": str(e)}
                    for e in work.errors
                ],
            }
        )
    else:
        _print(work.told, inventory, destination, table=listing or checking)
    for error in work.errors:
        say_error(error)
    if work.errors or any(each.damages for each in work.told):
        raise typer.Exit(1)


class _Work:
    """What the command does with one backup after another, and what came of it."""

    def __init__(self, destination: Destination, settings: Settings, *, show: bool) -> None:
        self.told: list[_Told] = []
        self.errors: list[ResumeDaemonError] = []
        self._destination = destination
        self._settings = settings
        self._show = show

    def look(self, inventory: Inventory, names: Sequence[str], *, checking: bool) -> None:
        """Tell of the backups, of all or of those named; read them where that was asked for.

        Raises:
            UsageError: There is none of a name.
        """
        chosen = [b for b in inventory.backups if not names or _is_named(b, names)]
        if missing := [n for n in names if not any(_is_named(b, [n]) for b in chosen)]:
            reason = f"there is no whole backup of {', '.join(missing)}"
            raise UsageError("find a backup at", self._destination.label, reason)
        for backup in chosen:
            if not checking:
                self.told.append(_Told(backup, "there"))
                continue
            try:
                found = self._checked(backup)
            except ResumeDaemonError as error:
                self.errors.append(error)
            else:
                self.told.append(_Told(backup, "damaged" if found else "verified", damages=found))

    def copy(self, subjects: Iterable[Subject | ResumeDaemonError], *, anew: bool) -> None:
        """Back up each subject; one that cannot be does not keep the others from it.

        ``anew`` reads what is there once more, and mends what of it is damaged.
        """
        for subject in subjects:
            if isinstance(subject, ResumeDaemonError):
                self.errors.append(subject)
                continue
            try:
                outcome = self._copied(subject, anew=anew)
            except ResumeDaemonError as error:
                self.errors.append(error)
            else:
                state = "new" if outcome.new else "mended" if outcome.how else "there"
                how = tuple(sorted(outcome.how))
                self.told.append(_Told(outcome.backup, state, outcome.sent, how))

    def _checked(self, backup: Backup) -> tuple[Damage, ...]:
        from resume_daemon.backup.reading_back import damages  # noqa: PLC0415 - heavy imports wait

        with progress(backup.id, backup.size, show=self._show) as tell:
            return paced(
                lambda pace: damages(backup, self._destination, pace), self._settings, tell
            )

    def _copied(self, subject: Subject, *, anew: bool) -> Outcome:
        from resume_daemon.backup.copying import back_up  # noqa: PLC0415 - heavy imports wait

        size = sum(file.size for file in subject.manifest.files)
        with progress(subject.path.name, size, show=self._show) as tell:
            return paced(
                lambda pace: back_up(subject, self._destination, pace, anew=anew),
                self._settings,
                tell,
            )


def _newest(chooser: Chooser) -> Iterator[Subject | ResumeDaemonError]:
    yield chooser.newest()


def _is_named(backup: Backup, names: Sequence[str]) -> bool:
    return bool({backup.id, backup.checkpoint} & {name.rstrip("/") for name in names})


def _print(
    told: list[_Told], inventory: Inventory, destination: Destination, *, table: bool
) -> None:
    if table:
        _print_table(told, destination)
    for each in told:
        if not table:
            say(_sentence(each, destination))
        for damage in each.damages:
            say(f"{each.backup.id}: RD891 {damage.file}: {damage.reason}")
    for identity in inventory.unfinished:
        say(f"{identity} is not whole: it is under way, or was cut off and is gone on with")


def _sentence(each: _Told, destination: Destination) -> str:
    backup = each.backup
    if each.state == "there":
        return f"{backup.checkpoint} was at {destination.label} already, as {backup.id}"
    if each.state == "mended":
        return (
            f"{backup.id} at {destination.label} was damaged, and is mended: {each.sent} bytes "
            "were sent again, and all of it was read back and verified"
        )
    how = f" by {' and '.join(each.how)}" if each.how else ", all of which was there"
    return (
        f"{backup.checkpoint} is at {destination.label} as {backup.id}: {len(backup.files)} files, "
        f"{backup.size} bytes{how}, each read back and verified"
    )


def _print_table(told: list[_Told], destination: Destination) -> None:
    from resume_daemon.report.console import narrow_table  # noqa: PLC0415 - only for people

    if not told:
        say(f"no backup of this run at {destination.label}")
        return
    rows = narrow_table("backup", "step", "verdict", "bytes", "by", "state")
    for each in told:
        backup = each.backup
        rows.add_row(
            plain(backup.id),
            "-" if backup.step is None else str(backup.step),
            plain(backup.verdict),
            str(backup.size),
            "policy" if backup.policy else "hand",
            each.state,
        )
    console().print(rows)
