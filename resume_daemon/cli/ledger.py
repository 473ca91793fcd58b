"""``resume-daemon ledger show|verify|export|rebuild``: the record of everything."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from resume_daemon.cli.output import JSON_OPTION, print_json, say
from resume_daemon.cli.runs import RUN, STATE_DIR, sidecar

if TYPE_CHECKING:
    from collections.abc import Iterator

app = typer.Typer(
    help="Look at the ledger, prove that it is whole, export it.", no_args_is_help=True
)

_KIND = typer.Option(
    None, "--kind", metavar="KIND", help="Only records of this kind, such as verdict or pair."
)
_LAST = typer.Option(
    50, "--last", min=0, metavar="N", help="Only so many of the newest records; 0 for all."
)
_FORMAT = typer.Option("jsonl", "--format", metavar="FORMAT", help="jsonl or csv.")
_URL = typer.Option(
    None, "--url", metavar="URL", help="Another database than the SQLite file beside the ledger."
)

_UNTOLD = {"state_json", "fingerprint", "files"}
"""Fields that are for programs; --json has them."""


@app.command()
def show(
    run: Path = RUN,
    *,
    kind: str | None = _KIND,
    last: int = _LAST,
    as_json: bool = JSON_OPTION,
    state_dir: Path = STATE_DIR,
) -> None:
    """Show the newest records."""
    from collections import deque  # noqa: PLC0415 - with what it is used for

    from resume_daemon.ledger.reader import read_records  # noqa: PLC0415 - heavy imports wait

    ledger = sidecar(run, state_dir).ledger
    found = (record for record in read_records(ledger) if kind in {None, record.kind})
    records = deque(found, maxlen=last or None)
    if as_json:
        print_json({"schema": 1, "records": [record.as_json() for record in records]})
        return
    if kind is not None and not records:
        kinds = ", ".join(sorted({record.kind for record in read_records(ledger)}))
        typer.echo(f"No record is of kind {kind}; there are: {kinds or 'none yet'}.", err=True)
    for record in records:
        fields = " ".join(
            f"{key}={json.dumps(value, ensure_ascii=False)}"
            for key, value in record.fields.items()
            if value not in (None, "", []) and key not in _UNTOLD and not isinstance(value, dict)
        )
        say(f"{record.seq:>6} {record.at:%Y-%m-%d %H:%M:%S} {record.kind:<10} {fields}")


@app.command()
def verify(run: Path = RUN, *, as_json: bool = JSON_OPTION, state_dir: Path = STATE_DIR) -> None:
    """Check that the ledger is whole; status 1 if it is not.

    No record may have been changed, lost, doubled or moved.
    """
    from resume_daemon.ledger.chain import verify as verify_chain  # noqa: PLC0415 - as above
    from resume_daemon.ledger.reader import read_lines  # noqa: PLC0415 - as above

    directory = sidecar(run, state_dir)
    report = verify_chain(read_lines(directory.ledger))
    broken = report.first_break
    if as_json:
        print_json(
            {
                "schema": 1,
                "path": str(directory.ledger),
                "records": report.records,
                "whole": broken is None,
                "break": (
                    {"line": broken.line, "seq": broken.seq, "reason": broken.reason}
                    if broken
                    else None
                ),
                "torn_tail_bytes": report.torn_tail_bytes,
            }
        )
    elif broken is None:
        say(f"{directory.ledger}: {report.records} records, the chain is whole")
    else:
        say(
            f"{directory.ledger}: broken at line {broken.line} (record {broken.seq}): "
            f"{broken.reason}"
        )
    if broken is not None:
        raise typer.Exit(1)


@app.command()
def export(
    run: Path = RUN,
    *,
    output: str = _FORMAT,
    kind: str | None = _KIND,
    state_dir: Path = STATE_DIR,
) -> None:
    """Write records to stdout, as JSON lines or CSV."""
    from resume_daemon.errors import UsageError  # noqa: PLC0415 - as above
    from resume_daemon.ledger.reader import read_records  # noqa: PLC0415 - as above

    if output not in {"jsonl", "csv"}:
        raise UsageError("export as", output, "it is no format", hint="Use jsonl or csv.")
    ledger = sidecar(run, state_dir).ledger

    def records() -> Iterator[dict[str, Any]]:
        return (r.as_json() for r in read_records(ledger) if kind in {None, r.kind})

    if output == "jsonl":
        for record in records():
            sys.stdout.write(json.dumps(record) + "\n")
        return
    # Read twice: the head of the table comes first, and a ledger may not fit into memory.
    names: dict[str, None] = {}
    newest = 0
    for record in records():
        names.update(dict.fromkeys(record))
        newest = record["seq"]
    writer = csv.DictWriter(sys.stdout, list(names))
    writer.writeheader()
    for record in records():
        if record["seq"] > newest:
            break
        writer.writerow(
            {k: json.dumps(v) if isinstance(v, dict | list) else v for k, v in record.items()}
        )


@app.command()
def rebuild(run: Path = RUN, *, url: str | None = _URL, state_dir: Path = STATE_DIR) -> None:
    """Make the database index anew from the ledger."""
    from functools import partial  # noqa: PLC0415 - with what it is used for

    from resume_daemon.ledger.index import Index  # noqa: PLC0415 - SQLAlchemy
    from resume_daemon.ledger.reader import read_records  # noqa: PLC0415 - as above

    directory = sidecar(run, state_dir)
    with Index(url or f"sqlite:///{directory.index}") as index:
        count = index.rebuild(run.resolve().name, partial(read_records, directory.ledger))
    say(f"index rebuilt: {count} records")
