"""A daemon in a process of its own, and waiting for what its ledger says."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from resume_daemon.errors import ResumeDaemonError
from resume_daemon.ledger.queries import RunState
from resume_daemon.ledger.reader import read_records

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from resume_daemon.ledger.record import Record

QUICK = """\
run: {run}
watch: {{settle_seconds: 0.3, abandon_seconds: 2, rescan_seconds: 1, poll_seconds: 0.2}}
trackers: {{wandb: {{poll_seconds: 0.2}}}}
"""
"""A configuration whose waits are short; nothing else differs from the defaults."""


@dataclass
class RunningDaemon:
    """A daemon beside a run; ``stop`` and ``kill`` end it."""

    run: Path
    config: Path
    process: subprocess.Popen[bytes] | None = None
    log: Path = field(init=False)

    def __post_init__(self) -> None:
        self.log = self.config.with_suffix(".log")

    def start(self, *arguments: str, environ: dict[str, str] | None = None) -> None:
        """Start it; returns at once."""
        command = [sys.executable, "-m", "resume_daemon", "run", "--config", str(self.config)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, *arguments],
                stdout=log,
                stderr=log,
                env={**os.environ, **(environ or {})},
            )

    def stop(self, timeout: float = 20.0) -> int:
        """Ask it to stop and return its exit status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout)

    def kill(self) -> None:
        """Kill it as a power cut would."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(20)

    def records(self) -> list[Record]:
        """Return every whole record of the ledger, oldest first."""
        try:
            return list(read_records(self.run / ".resume_daemon" / "ledger.jsonl"))
        except ResumeDaemonError:
            return []

    def state(self) -> RunState:
        """Return what the ledger says now."""
        state = RunState()
        for record in self.records():
            state.apply(record)
        return state

    def wait_for(self, true: Callable[[RunState], bool], timeout: float = 30.0) -> RunState:
        """Wait until the ledger says something; fail with the daemon's log where it does not."""
        deadline = time.monotonic() + timeout
        while True:
            state = self.state()
            if true(state):
                return state
            if time.monotonic() > deadline:
                pytest.fail(f"not within {timeout} s; the daemon said:\n{self.log.read_text()}")
            time.sleep(0.02)

    def verdicts(self) -> dict[str, str]:
        """Return the latest verdict by checkpoint."""
        return {name: each.verdict for name, each in self.state().checkpoints.items()}

    def of_kind(self, kind: str) -> list[dict[str, Any]]:
        """Return the fields of every record of a kind."""
        return [dict(record.fields) for record in self.records() if record.kind == kind]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Return an empty run directory."""
    path = tmp_path / "run"
    path.mkdir()
    return path


@pytest.fixture
def daemon(run: Path, tmp_path: Path) -> Iterator[RunningDaemon]:
    """Return a daemon that is not started yet, and end it whatever happens."""
    config = tmp_path / "config.yaml"
    config.write_text(QUICK.format(run=run), encoding="utf-8")
    running = RunningDaemon(run, config)
    yield running
    if running.process is not None and running.process.poll() is None:
        running.kill()


@pytest.fixture
def receiver() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Return the URL of a real HTTP server, and the bodies that it received."""
    received: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.append(json.loads(body))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Stay quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/", received
    server.shutdown()
    thread.join()
    server.server_close()
