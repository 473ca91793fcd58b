"""``resume-daemon ledger show|verify|export|rebuild``: the record of everything."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import typer

from resume_daemon.cli.output import JSON_OPTION, console, print_json
from resume_daemon.cli.runs import RUN, STATE_DIR, sidecar

app = typer.Typer(
    help="Look at the ledger, prove that it is whole, export it.", no_args_is_help=True
)

_KIND = typer.Option(None, "--kind", help="Only records of this kind, such as verdict or pair.")
_URL = typer.Option(None, "--url", help="Another database than the SQLite file beside the ledger.")


@app.command()
def show(
    run: Path = RUN,
    *,
    kind: str | None = _KIND,
    last: int = typer.Option(50, "--last", help="Only so many of the newest records; 0 for all."),
    as_json: bool = JSON_OPTION,
    state_dir: Path = STATE_DIR,
) -> None:
    """Show the newest records."""
    from collections import deque  # noqa: PLC0415 - with what it is used for

    from resume_daemon.ledger.reader import read_records  # noqa: PLC0415 - heavy imports wait

    directory = sidecar(run, state_dir)
    records = deque(
        (r for r in read_records(directory.ledger) if kind is None or r.kind == kind),
        maxlen=last or None,
    )
    if as_json:
        print_json({"schema": 1, "records": [record.as_json() for record in records]})
        return
    out = console()
    for record in records:
        fields = " ".join(
            f"{key}={json.dumps(value, ensure_ascii=False)}"
            for key, value in record.fields.items()
            if value not in (None, "", [])
            and key not in {"state_json", "fingerprint", "files"}
            and not isinstance(value, dict)
        )
        out.print(
            f"{record.seq:>6} {record.at:%Y-%m-%d %H:%M:%S} {record.kind:<10} {fields}",
            markup=False,
        )


@app.command()
def verify(run: Path = RUN, *, as_json: bool = JSON_OPTION, state_dir: Path = STATE_DIR) -> None:
    """Check that no record was changed, lost, doubled or moved. Exit status 1 if one was."""
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
        typer.echo(f"{directory.ledger}: {report.records} records, the chain is whole")
    else:
        typer.echo(
            f"{directory.ledger}: broken at line {broken.line} (record {broken.seq}): "
            f"{broken.reason}"
        )
    if broken is not None:
        raise typer.Exit(1)


@app.command()
def export(
    run: Path = RUN,
    *,
    output: str = typer.Option("jsonl", "--format", help="jsonl or csv."),
    kind: str | None = _KIND,
    state_dir: Path = STATE_DIR,
) -> None:
    """Write records to stdout, as JSON lines or CSV."""
    from resume_daemon.errors import UsageError  # noqa: PLC0415 - as above
    from resume_daemon.ledger.reader import read_records  # noqa: PLC0415 - as above

    if output not in {"jsonl", "csv"}:
        raise UsageError("export as", output, "it is no format", hint="Use jsonl or csv.")
    directory = sidecar(run, state_dir)
    records = (r for r in read_records(directory.ledger) if kind is None or r.kind == kind)
    if output == "jsonl":
        for record in records:
            sys.stdout.write(json.dumps(record.as_json(), ensure_ascii=False) + "\n")
        return
    rows = [record.as_json() for record in records]
    names = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(sys.stdout, names)
    writer.writeheader()
    for row in rows:
        writer.writerow(
            {k: json.dumps(v) if isinstance(v, dict | list) else v for k, v in row.items()}
        )


@app.command()
def rebuild(run: Path = RUN, *, url: str | None = _URL, state_dir: Path = STATE_DIR) -> None:
    """Make the index anew from the ledger; it holds nothing that the ledger does not."""
    from functools import partial  # noqa: PLC0415 - with what it is used for

    from resume_daemon.ledger.index import Index  # noqa: PLC0415 - SQLAlchemy
    from resume_daemon.ledger.reader import read_records  # noqa: PLC0415 - as above

    directory = sidecar(run, state_dir)
    with Index(url or f"sqlite:///{directory.index}") as index:
        count = index.rebuild(run.resolve().name, partial(read_records, directory.ledger))
    typer.echo(f"index rebuilt: {count} records")
