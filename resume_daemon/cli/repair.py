"""``resume-daemon repair RUN``: what can be put right, carried out when asked, and taken back."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from resume_daemon.cli.output import JSON_OPTION, print_json, say
from resume_daemon.cli.planning import RUN_ID, note
from resume_daemon.cli.repairing import working
from resume_daemon.cli.runs import RUN, STATE_DIR
from resume_daemon.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from resume_daemon.backup.destinations import Destination
    from resume_daemon.ledger.ledger import Ledger
    from resume_daemon.repair.engine import Engine
    from resume_daemon.repair.proposals import Proposal
    from resume_daemon.repair.proposing import Proposed
    from resume_daemon.state_directory import StateDirectory
    from resume_daemon.verification import Verification

_UNDO: str | None = typer.Option(
    None, "--undo", metavar="ID", help="Take back a repair, byte for byte, and do no more."
)
_QUARANTINE: list[str] = typer.Option(
    [], "--quarantine", metavar="NAME", help="Move this checkpoint aside as well; may be repeated."
)
_RELEASE: str | None = typer.Option(
    None, "--release", metavar="NAME", help="Bring a checkpoint back from quarantine; do no more."
)
_BACKUP_TO: str | None = typer.Option(
    None,
    "--backup-to",
    metavar="DIRECTORY|URL",
    help="With --apply: keep what is replaced there as well, such as s3://bucket/prefix.",
)


def command(
    run: Path = RUN,
    *,
    apply: bool = typer.Option(
        False, "--apply", help="Do it; without this, only the plan is shown."
    ),
    listing: bool = typer.Option(
        False, "--list", help="Show earlier repairs, and what is in quarantine; do no more."
    ),
    undo: str | None = _UNDO,
    quarantine: list[str] = _QUARANTINE,
    release: str | None = _RELEASE,
    backup_to: str | None = _BACKUP_TO,
    run_id: str | None = RUN_ID,
    as_json: bool = JSON_OPTION,
    state_dir: Path | None = STATE_DIR,
) -> None:
    """Plan what can be put right; --apply does it.

    Everything is backed up and verified before it is changed, and --undo takes a repair back. What
    cannot be repaired exactly is left, and said. Ends with 1 where something is, or stays, wrong.
    """
    from resume_daemon.run_directory import check_run  # noqa: PLC0415 - heavy imports wait

    alone = [given for given in (undo, release) if given is not None]
    if len(alone) + listing > 1 or ((alone or listing) and (apply or quarantine)):
        raise UsageError("repair", run, "--list, --undo and --release each stand alone")
    if backup_to is not None and not apply:
        raise UsageError("back up to", backup_to, "--backup-to is for --apply alone")
    real = check_run(run, "repair", missing="Give the trainer's output directory.")
    if listing:
        _list(real, state_dir, as_json=as_json)
    elif undo is not None:
        _undo(real, state_dir, undo, as_json=as_json)
    elif release is not None:
        _release(real, state_dir, release, as_json=as_json)
    elif apply:
        elsewhere = None if backup_to is None else _destination(backup_to, real)
        with working(real, state_dir, elsewhere) as (engine, state):
            _apply(real, state, engine, quarantine, run_id, as_json=as_json)
    else:
        _plan(real, state_dir, quarantine, run_id, as_json=as_json)


def _plan(
    run: Path, state_dir: Path | None, asked: Sequence[str], run_id: str | None, *, as_json: bool
) -> None:
    from resume_daemon.repair.store import RepairStore  # noqa: PLC0415 - heavy imports wait
    from resume_daemon.report import repair_plan  # noqa: PLC0415 - as above
    from resume_daemon.state_directory import find_state_directory  # noqa: PLC0415 - as above

    state = find_state_directory(run, state_dir)
    found = _propose(run, state, asked, run_id)
    if as_json:
        print_json(repair_plan.as_json(found, repair=None, recovered=(), after=()))
    else:
        for line in repair_plan.plan_lines(found, done=False):
            say(line)
        if found.proposals:
            say("nothing was changed: run again with --apply to do it")
    interrupted = RepairStore(state.repairs).interrupted() if state is not None else []
    for identity in interrupted:
        note(f"the repair {identity} was interrupted; --apply finishes it, or takes it back, first")
    if interrupted or any(each.action != "resume_env" for each in found.outcomes):
        raise typer.Exit(1)


def _apply(
    run: Path,
    state: StateDirectory,
    engine: Engine,
    asked: Sequence[str],
    run_id: str | None,
    *,
    as_json: bool,
) -> None:
    from resume_daemon.findings import Verdict  # noqa: PLC0415 - heavy imports wait
    from resume_daemon.report import repair_plan  # noqa: PLC0415 - as above

    recovered = engine.recover()
    found = _propose(run, state, asked, run_id)
    proposals = found.proposals
    repair = engine.apply(proposals, datetime.now(UTC)) if proposals else None
    after = _verified(run, state, engine.ledger, proposals)
    if as_json:
        identity = None if repair is None else repair.id
        document = repair_plan.as_json(found, repair=identity, recovered=recovered, after=after)
        print_json(document)
    else:
        for line in (*recovered, *repair_plan.plan_lines(found, done=True)):
            say(line)
        for each in after:
            say(repair_plan.verdict_line(each))
        if repair is not None:
            say(f"take it back with --undo {repair.id}")
    left = len(found.outcomes) > len(proposals)
    if left or any(each.verdict is not Verdict.SOUND for each in after):
        raise typer.Exit(1)


def _list(run: Path, state_dir: Path | None, *, as_json: bool) -> None:
    from resume_daemon.repair.store import RepairStore  # noqa: PLC0415 - heavy imports wait
    from resume_daemon.repair.survey import quarantine_of  # noqa: PLC0415 - as above
    from resume_daemon.state_directory import find_state_directory  # noqa: PLC0415 - as above

    state = find_state_directory(run, state_dir)
    store = RepairStore(state.repairs) if state is not None else None
    repairs = [store.read(each) for each in store.identities()] if store is not None else []
    told = [(each, store.status(each)) for each in repairs] if store is not None else []
    folder = quarantine_of(run, state)
    aside = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    if as_json:
        rows = [
            {"repair": each.id, "at": each.at, "status": status, "steps": len(each.steps)}
            for each, status in told
        ]
        print_json({"schema": 1, "repairs": rows, "quarantine": aside})
        return
    for each, status in told:
        say(f"{each.id}  {status}")
        for step in each.steps:
            say(f"  {step.sentence}")
    say(f"in quarantine: {', '.join(aside) or 'nothing'}")


def _undo(run: Path, state_dir: Path | None, identity: str, *, as_json: bool) -> None:
    with working(run, state_dir) as (engine, _):
        recovered = engine.recover()
        if engine.store.status(engine.store.read(identity)) != "undone" or not recovered:
            engine.undo(identity)
    _say_moved(identity, f"Took back the repair {identity}.", recovered, as_json=as_json)


def _release(run: Path, state_dir: Path | None, name: str, *, as_json: bool) -> None:
    from resume_daemon.repair.actions.quarantine import release  # noqa: PLC0415
    from resume_daemon.repair.listing_digest import listing_digest  # noqa: PLC0415
    from resume_daemon.repair.survey import quarantine_of  # noqa: PLC0415

    with working(run, state_dir) as (engine, state):
        recovered = engine.recover()
        kept = quarantine_of(run, state) / name
        if Path(name).name != name or not kept.is_dir():
            there = [path.name for path in kept.parent.iterdir()] if kept.parent.is_dir() else []
            known = f"there are {', '.join(sorted(there))}" if there else "it is empty"
            raise UsageError("bring back from quarantine", name, f"it is not there; {known}")
        proposal = release(kept, run, listing_digest(kept))
        repair = engine.apply([proposal], datetime.now(UTC))
    _say_moved(
        repair.id, f"Brought {proposal.checkpoint} back into the run.", recovered, as_json=as_json
    )


def _say_moved(identity: str, sentence: str, recovered: Sequence[str], *, as_json: bool) -> None:
    if as_json:
        print_json({"schema": 1, "repair": identity, "recovered": recovered, "undone": sentence})
        return
    for line in (*recovered, sentence):
        say(line)


def _propose(
    run: Path, state: StateDirectory | None, asked: Sequence[str], run_id: str | None
) -> Proposed:
    from resume_daemon.repair.proposing import NextStart, propose  # noqa: PLC0415
    from resume_daemon.resume.survey import Wishes  # noqa: PLC0415 - heavy imports wait

    known = state if state is not None and state.ledger.exists() else None
    found = propose(
        run,
        known,
        now_ns=time.time_ns(),
        asked=asked,
        start=NextStart(os.environ),
        wishes=Wishes(run_id=run_id),
    )
    names = {each.checkpoint for each in found.outcomes if each.action == "quarantine"}
    for name in asked:
        if name not in names:
            raise UsageError("move aside", run / name, "there is no such checkpoint in the run")
    return found


def _verified(
    run: Path, state: StateDirectory, ledger: Ledger, proposals: Sequence[Proposal]
) -> list[Verification]:
    """Verify what was repaired, and record what it is worth now."""
    from resume_daemon.repair.aftermath import record_after, verify_after, written_in  # noqa: PLC0415

    found = []
    for name, files in written_in(proposals).items():
        verification = verify_after(run, state, name, files)
        record_after(state, ledger, verification)
        found.append(verification)
    return found


def _destination(text: str, run: Path) -> Destination:
    from resume_daemon.backup.address import check_apart, folder_of, parse_address  # noqa: PLC0415
    from resume_daemon.backup.destinations import open_destination  # noqa: PLC0415

    address = parse_address(text)
    check_apart(address, run)
    return open_destination(address, f"{folder_of(run)}.repairs")
