from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import sqlite3
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from resume_daemon.errors import LedgerError, UsageError
from resume_daemon.ledger.index import BATCH, TABLES, Index
from resume_daemon.ledger.ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import Iterator

ENTRIES: list[tuple[str, dict[str, Any]]] = [
    ("daemon", {"event": "started", "version": "1", "pid": 7, "host": "h"}),
    ("verdict", {"checkpoint": "checkpoint-10", "verdict": "incomplete", "step": 10}),
    (
        "verdict",
        {
            "checkpoint": "checkpoint-10",
            "path": "/r/checkpoint-10",
            "layout": "huggingface",
            "verdict": "unsound",
            "step": 10,
            "codes": ["RD201"],
            "bytes": 123,
            "seconds": 0.5,
        },
    ),
    ("verdict", {"checkpoint": "checkpoint-20", "verdict": "sound", "seconds": 2}),
    (
        "pair",
        {
            "tracker": "wandb",
            "run_id": "abc",
            "segment": "run-1",
            "tracker_step": 149,
            "trainer_step": 100,
            "checkpoint": None,
        },
    ),
    ("snapshot", {"checkpoint": "checkpoint-20", "step": 20, "stage": 2, "files": {"a": "d"}}),
    ("drift", {"condition": "c", "state": "firing", "offset": 49, "drift": 49, "message": "m"}),
    ("alert", {"id": "1", "condition": "c", "state": "firing", "sink": "s", "outcome": "sent"}),
    ("repair", {"id": "1", "action": "none that is indexed"}),
]


@pytest.fixture(scope="module")
def postgresql() -> Iterator[str]:
    """Start a PostgreSQL server of our own on a socket, and yield its URL."""
    if importlib.util.find_spec("psycopg") is None:
        pytest.skip("psycopg is not installed")
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb")) or [
        Path(path) for path in [shutil.which("initdb")] if path
    ]
    if not found:
        pytest.skip("no initdb: PostgreSQL is not installed")
    directory = Path(tempfile.mkdtemp(prefix="index-"))
    as_user: list[str] = []
    if os.geteuid() == 0:
        # The server refuses to run as root.
        if shutil.which("setpriv") is None:
            pytest.skip("no setpriv: cannot become another user")
        try:
            user = pwd.getpwnam("postgres")
        except KeyError:
            pytest.skip("there is no user postgres")
        os.chown(directory, user.pw_uid, user.pw_gid)
        ids = [f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
        as_user = ["setpriv", *ids]
    data = str(directory / "data")

    def run(program: str, *arguments: str) -> None:
        # Its output goes to a file: the server would hold a pipe open for as long as it lives.
        with (directory / f"{program}.log").open("ab") as log:
            command = [*as_user, str(found[-1].with_name(program)), "-D", data, *arguments]
            subprocess.run(command, check=True, stdout=log, stderr=log, cwd=directory, timeout=50)

    try:
        run("initdb", "-U", "postgres", "-A", "trust", "--no-sync", "-E", "UTF8")
        run("pg_ctl", "-w", "-o", f"-k {directory} -c listen_addresses='' -F", "start")
        try:
            yield f"postgresql://postgres@/postgres?host={directory}"
        finally:
            run("pg_ctl", "-w", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(directory)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'index.db'}"
    return str(request.getfixturevalue("postgresql"))


@pytest.fixture
def run(tmp_path: Path) -> str:
    return str(tmp_path)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.open(tmp_path / "ledger.jsonl", "run") as opened:
        opened.append_many(ENTRIES)
        yield opened


def rows(index: Index, run: str) -> dict[str, list[dict[str, Any]]]:
    return {table: list(index.export(table, run)) for table in TABLES}


def test_each_kind_has_its_table(url: str, run: str, ledger: Ledger) -> None:
    with Index(url) as index:
        assert index.sync(run, ledger.records) == len(ENTRIES)
        exported = rows(index, run)
    counts = {table: len(of) for table, of in exported.items()}
    assert counts == {
        "alerts": 1,
        "checkpoints": 2,
        "daemon_events": 1,
        "drift": 1,
        "pairs": 1,
        "snapshots": 1,
        "verdicts": 3,
    }
    latest = exported["checkpoints"][0]
    assert (latest["checkpoint"], latest["verdict"], latest["seq"]) == (
        "checkpoint-10",
        "unsound",
        3,
    )
    assert (latest["codes"], latest["bytes"], latest["seconds"]) == ('["RD201"]', 123, 0.5)
    assert exported["pairs"][0]["tracker_step"] == 149
    assert exported["snapshots"][0]["files"] == '{"a": "d"}'
    assert exported["drift"][0]["offset"] == 49


def test_only_what_is_new_is_taken_in_and_nothing_twice(url: str, run: str, ledger: Ledger) -> None:
    with Index(url) as index:
        index.sync(run, ledger.records)
        before = rows(index, run)
        assert index.sync(run, ledger.records) == 0
        assert rows(index, run) == before
        ledger.append("verdict", checkpoint="checkpoint-20", verdict="rotated")
        asked: list[int] = []

        def source(after: int) -> Any:
            asked.append(after)
            return ledger.records(after)

        assert index.sync(run, source) == 1
        assert asked == [len(ENTRIES) - 1]
        verdicts = {row["checkpoint"]: row["verdict"] for row in rows(index, run)["checkpoints"]}
        assert verdicts == {"checkpoint-10": "unsound", "checkpoint-20": "rotated"}
        assert index.position(run).seq == len(ENTRIES) + 1


def test_many_batches_arrive_whole(url: str, run: str, ledger: Ledger) -> None:
    ledger.append_many([("pair", {"tracker_step": n}) for n in range(2 * BATCH)])
    with Index(url) as index:
        assert index.sync(run, ledger.records) == len(ENTRIES) + 2 * BATCH
        steps = [row["tracker_step"] for row in index.export("pairs", run)]
    assert steps == [149, *range(2 * BATCH)]


def test_what_was_taken_in_before_an_interruption_stays_and_the_rest_follows(
    url: str, run: str, ledger: Ledger
) -> None:
    ledger.append_many([("pair", {"tracker_step": n}) for n in range(2 * BATCH)])

    def interrupted(after: int) -> Any:
        for number, record in enumerate(ledger.records(after)):
            if number == BATCH + 10:
                raise LedgerError("read the ledger", None, "the test pulled the plug")
            yield record

    with Index(url) as index:
        with pytest.raises(LedgerError, match="plug"):
            index.sync(run, interrupted)
        assert index.position(run).seq == BATCH
        index.sync(run, ledger.records)
        taken = rows(index, run)
        index.rebuild(run, ledger.records)
        assert rows(index, run) == taken


@pytest.mark.parametrize("length", [3, 30])
def test_a_ledger_that_was_replaced_replaces_the_rows_of_its_run_alone(
    url: str, run: str, ledger: Ledger, tmp_path: Path, length: int
) -> None:
    with (
        Index(url) as index,
        Ledger.open(tmp_path / "other.jsonl", "run") as other,
    ):
        index.sync(run, ledger.records)
        index.sync(f"{run}-neighbour", ledger.records)
        neighbour = rows(index, f"{run}-neighbour")
        other.append_many([("pair", {"tracker_step": n}) for n in range(length)])
        assert index.sync(run, other.records) == length
        exported = rows(index, run)
        assert len(exported["pairs"]) == length
        assert exported["checkpoints"] == []
        assert rows(index, f"{run}-neighbour") == neighbour


def test_odd_values_are_stored_as_well_as_the_database_can(
    url: str, run: str, ledger: Ledger
) -> None:
    name = b"checkpoint-\xff\0".decode("utf-8", "surrogateescape")
    ledger.append("verdict", checkpoint=name, verdict=["?"], step=10**30, seconds="soon", bytes=1.5)
    ledger.append("verdict", verdict="sound")
    with Index(url) as index:
        index.sync(run, ledger.records)
        row = list(index.export("verdicts", run))[-2]
    assert row["checkpoint"] == "checkpoint-\\udcff\\x00"
    assert (row["verdict"], row["step"], row["seconds"], row["bytes"]) == (
        '["?"]',
        None,
        None,
        None,
    )


def test_two_that_synchronise_at_once_take_each_record_in_once(
    url: str, run: str, ledger: Ledger
) -> None:
    with Index(url) as index, Index(url) as second:

        def overtaken(after: int) -> Any:
            # The other one synchronises between this one's look at the position and its write.
            second.sync(run, ledger.records)
            return ledger.records(after)

        assert index.sync(run, overtaken) == 0
        assert len(rows(index, run)["verdicts"]) == 3


def test_the_index_may_be_deleted_at_any_time(tmp_path: Path, ledger: Ledger) -> None:
    url = f"sqlite:///{tmp_path / 'index.db'}"
    with Index(url) as index:
        index.sync("run", ledger.records)
        before = rows(index, "run")
    (tmp_path / "index.db").unlink()
    with Index(url) as index:
        index.sync("run", ledger.records)
        assert rows(index, "run") == before


def test_a_file_that_is_no_database_is_set_aside_and_built_anew(
    tmp_path: Path, ledger: Ledger
) -> None:
    file = tmp_path / "index.db"
    file.write_bytes(b"this was a database once" * 100)
    with Index(f"sqlite:///{file}") as index:
        assert index.sync("run", ledger.records) == len(ENTRIES)
        assert index.damaged is not None
        assert index.damaged.read_bytes().startswith(b"this was a database once")


def test_a_database_that_breaks_while_in_use_is_built_anew(tmp_path: Path, ledger: Ledger) -> None:
    file = tmp_path / "index.db"
    with Index(f"sqlite:///{file}") as index:
        index.sync("run", ledger.records)
        before = rows(index, "run")
        size = file.stat().st_size
        with file.open("r+b") as damaged:
            damaged.seek(4096)
            damaged.write(b"\xff" * (size - 4096))
        ledger.append("repair")
        assert index.sync("run", ledger.records) == len(ENTRIES) + 1
        assert index.damaged is not None
        assert rows(index, "run") == before


def test_a_locked_database_is_an_error_that_leaves_the_ledger_alone(
    tmp_path: Path, ledger: Ledger
) -> None:
    file = tmp_path / "index.db"
    with Index(f"sqlite:///{file}?timeout=0.01") as index:
        other = sqlite3.connect(file)
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(LedgerError, match=r"locked.*ledger itself is untouched"):
            index.sync("run", ledger.records)
        other.rollback()
        other.close()
        assert index.sync("run", ledger.records) == len(ENTRIES)


def test_an_unknown_table_is_refused_with_those_there_are(tmp_path: Path) -> None:
    with (
        Index(f"sqlite:///{tmp_path / 'index.db'}") as index,
        pytest.raises(UsageError, match="checkpoints"),
    ):
        list(index.export("position"))


@pytest.mark.parametrize("url", ["nonsense", "postgresql+nodriver://u:secret@h/db"])
def test_a_url_that_cannot_be_used_is_wrong_usage_and_shows_no_password(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        Index(url)
    assert "secret" not in str(caught.value)


def test_a_directory_that_is_missing_is_told_with_the_url(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match=r"index\.db"):
        Index(f"sqlite:///{tmp_path / 'gone' / 'index.db'}")
