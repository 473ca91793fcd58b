from __future__ import annotations

import json
import shutil
import sqlite3
import threading
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from resume_daemon.trackers.testing import header, history, metric, write_segment
from resume_daemon.trackers.testing import run as run_record
from tests.checkpoints import write_checkpoint

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.daemon.conftest import RunningDaemon

KEY = "train/global_step"
FIRST = "offline-run-20261122_100000-grpo"
SECOND = "offline-run-20261122_110000-grpo"


def log_steps(run: Path, segment: str, first: int, last: int) -> None:
    """Write the log of a process that trained steps ``first`` to ``last``, two rows each."""
    rows = []
    for count, step in enumerate(range(first, last + 1)):
        rows.append(history(2 * count, {"train/loss": 1.0, KEY: step}))
        rows.append(history(2 * count + 1, {"profiling/time": 0.1, KEY: step}))
    records = [header(), run_record("grpo"), metric("*", KEY), *rows]
    write_segment(run / "wandb", records, name=segment, run_id="grpo")


def test_each_checkpoint_has_the_pair_of_its_own_step_and_nothing_alarms(
    run: Path, daemon: RunningDaemon
) -> None:
    daemon.start()
    for step in (5, 10):
        write_checkpoint(run, step)
    log_steps(run, FIRST, 1, 13)
    state = daemon.wait_for(lambda s: len(s.pair_at_checkpoint) == 2)
    pairs = {n: (p.tracker_step, p.trainer_step) for n, p in state.pair_at_checkpoint.items()}
    assert pairs == {"checkpoint-5": (8, 5), "checkpoint-10": (18, 10)}
    assert daemon.stop() == 0
    assert daemon.of_kind("drift") == []


def test_a_resume_from_an_older_checkpoint_is_one_drift_with_the_number_of_stale_rows(
    run: Path, daemon: RunningDaemon
) -> None:
    for step in (5, 10):
        write_checkpoint(run, step)
    log_steps(run, FIRST, 1, 13)
    daemon.start()
    daemon.wait_for(lambda s: len(s.pair_at_checkpoint) == 2)
    log_steps(run, SECOND, 6, 12)
    state = daemon.wait_for(lambda s: bool(s.firing))
    [firing] = state.firing.values()
    assert firing.condition.key == f"wandb-drift:grpo:{SECOND}"
    assert firing.condition.drift == 16  # Steps 6 to 13 have two rows each.
    assert firing.condition.message.startswith("W&B=25, trainer=5, offset=20")


def test_a_restart_records_no_pair_twice_and_finds_what_came_meanwhile(
    run: Path, daemon: RunningDaemon
) -> None:
    write_checkpoint(run, 5)
    log_steps(run, FIRST, 1, 7)
    daemon.start()
    daemon.wait_for(lambda s: "checkpoint-5" in s.pair_at_checkpoint)
    daemon.kill()
    log_steps(run, FIRST, 1, 13)
    write_checkpoint(run, 10)
    daemon.start()
    daemon.wait_for(lambda s: "checkpoint-10" in s.pair_at_checkpoint)
    recorded = [(p["checkpoint"], p["trainer_step"]) for p in daemon.of_kind("pair")]
    assert sorted(recorded, key=str) == sorted(set(recorded), key=str)


def test_a_rewritten_checkpoint_gets_the_pair_of_the_process_that_rewrote_it(
    run: Path, daemon: RunningDaemon
) -> None:
    for step in (5, 10):
        write_checkpoint(run, step)
    log_steps(run, FIRST, 1, 13)
    daemon.start()
    daemon.wait_for(lambda s: len(s.pair_at_checkpoint) == 2)
    shutil.rmtree(run / "checkpoint-10")
    write_checkpoint(run, 10, seed=11)
    log_steps(run, SECOND, 6, 12)
    state = daemon.wait_for(lambda s: s.pair_at_checkpoint["checkpoint-10"].segment == SECOND)
    pair = state.pair_at_checkpoint["checkpoint-10"]
    assert (pair.tracker_step, pair.base, pair.trainer_step) == (8, 26, 10)
    assert state.pair_at_checkpoint["checkpoint-5"].segment == FIRST


@pytest.fixture
def server() -> Iterator[str]:
    """Return the URL of a stand-in for the W&B server; it says that the run crashed."""
    found = {
        "state": "crashed",
        "heartbeatAt": "2026-11-22T11:06:38Z",
        "historyLineCount": 26,
        "historyKeys": {"lastStep": 25, "keys": {}},
        "summaryMetrics": json.dumps({"_step": 25, KEY: 13}),
    }

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            body = json.dumps({"data": {"project": {"run": found}}}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Stay quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def test_what_the_server_says_of_the_run_is_recorded_once(
    run: Path, daemon: RunningDaemon, server: str
) -> None:
    text = daemon.config.read_text().replace(
        "trackers: {wandb: {poll_seconds: 0.2}}",
        "trackers: {wandb: {poll_seconds: 0.2, api: {enabled: true, entity: e, project: p}}}",
    )
    daemon.config.write_text(text, encoding="utf-8")
    log_steps(run, FIRST, 1, 13)
    daemon.start(environ={"WANDB_BASE_URL": server, "WANDB_API_KEY": "k" * 40})
    state = daemon.wait_for(lambda s: s.server is not None)
    assert state.server is not None
    assert (state.server.state, state.server.tracker_step) == ("crashed", 25)
    daemon.stop()
    assert len(daemon.of_kind("tracker")) == 1
    assert "kkkk" not in daemon.log.read_text()


def test_a_server_that_is_away_costs_the_daemon_nothing(run: Path, daemon: RunningDaemon) -> None:
    text = daemon.config.read_text().replace(
        "trackers: {wandb: {poll_seconds: 0.2}}",
        "trackers: {wandb: {poll_seconds: 0.2, api: {enabled: true, entity: e, project: p}}}",
    )
    daemon.config.write_text(text, encoding="utf-8")
    log_steps(run, FIRST, 1, 13)
    daemon.start(environ={"WANDB_BASE_URL": "http://127.0.0.1:9", "WANDB_API_KEY": "k" * 40})
    write_checkpoint(run, 10)
    daemon.wait_for(lambda s: "checkpoint-10" in s.pair_at_checkpoint)
    assert daemon.stop() == 0


def test_a_fleets_database_follows_the_ledger(
    run: Path, daemon: RunningDaemon, tmp_path: Path
) -> None:
    database = tmp_path / "fleet.db"
    text = daemon.config.read_text() + f"index: {{url: 'sqlite:///{database}'}}\n"
    daemon.config.write_text(text, encoding="utf-8")
    write_checkpoint(run, 5)
    daemon.start()

    def rows() -> list[tuple[str, str]]:
        if not database.exists():
            return []
        with closing(sqlite3.connect(database)) as connection:
            try:
                found = connection.execute("select checkpoint, verdict from checkpoints")
                return [(str(name), str(verdict)) for name, verdict in found]
            except sqlite3.OperationalError:
                return []

    daemon.wait_for(lambda _: rows() == [("checkpoint-5", "sound")])
