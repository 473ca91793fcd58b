"""A trainer in a process of its own, an HTTP server that takes alerts, and W&B's own reader."""

from __future__ import annotations

import json
import os
import queue
import signal
import struct
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SCRIPT = Path(__file__).with_name("grpo_trainer_script.py")

RUN_ID = "grpo-seam"
"""The W&B run that every trainer of one run goes on with."""

STEP_KEY = "train/global_step"

PATIENCE = 120.0
"""Seconds to wait for anything: importing the trainer alone takes 10 on a free machine."""

OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "CUDA_VISIBLE_DEVICES": "",
    "OMP_NUM_THREADS": "1",
    "PYTHONUNBUFFERED": "1",
}


@dataclass
class RunningTrainer:
    """The GRPO script beside this file, with W&B offline in the directory that it works in.

    Attributes:
        output: Where checkpoints go; W&B's log is beside it.
        process: The trainer, once it was started.
        said: Everything that it printed.
    """

    output: Path
    process: subprocess.Popen[str] | None = None
    said: list[str] = field(default_factory=list)
    _lines: queue.Queue[str | None] = field(default_factory=queue.Queue)

    def start(self, *arguments: str, resume: str = "allow") -> None:
        """Start it; returns at once. ``resume`` is what W&B is told."""
        home = self.output.parent
        environ = {name: v for name, v in os.environ.items() if not name.startswith("WANDB")}
        environ |= OFFLINE | {
            "HF_HOME": str(home / "cache"),
            "WANDB_MODE": "offline",
            "WANDB_SILENT": "true",
            "WANDB_RUN_ID": RUN_ID,
            "WANDB_RESUME": resume,
            "WANDB_CACHE_DIR": str(home / "cache"),
            "WANDB_CONFIG_DIR": str(home / "cache"),
            "WANDB__TRANSACTION_LOG_FLUSH_INTERVAL": "1",
        }
        self.process = subprocess.Popen(
            [sys.executable, str(SCRIPT), "--output", str(self.output), *arguments],
            cwd=home,
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        threading.Thread(target=self._listen, args=(self.process,), daemon=True).start()

    def _listen(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                self._lines.put(line.strip())
        self._lines.put(None)

    def wait_for_step(self, step: int) -> None:
        """Wait until the trainer says that a step has ended."""
        deadline = time.monotonic() + PATIENCE
        while (line := self._next(deadline)) is not None:
            if line == f"step {step}":
                return
        self._fail(f"it ended before step {step}")

    def finish(self) -> None:
        """Wait until it has ended by itself, without an error."""
        deadline = time.monotonic() + PATIENCE
        while self._next(deadline) is not None:
            pass
        assert self.process is not None
        if self.process.wait(PATIENCE) != 0:
            self._fail(f"exit status {self.process.returncode}")

    def kill(self) -> None:
        """Kill it and all that it started, as the kernel does when memory runs out."""
        if self.process is not None:
            if self.process.poll() is None:
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(PATIENCE)

    def _next(self, deadline: float) -> str | None:
        try:
            line = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            self._fail("nothing more was said in time")
        if line is not None:
            self.said.append(line)
        return line

    def _fail(self, reason: str) -> Any:
        self.kill()
        pytest.fail(f"trainer: {reason}; it said:\n" + "\n".join(self.said[-40:]))


@dataclass(frozen=True)
class Delivered:
    """One message that reached the server: its headers by lower-case name, and its exact bytes."""

    headers: dict[str, str]
    body: bytes

    @property
    def condition(self) -> dict[str, Any]:
        """The condition that it tells of."""
        condition: dict[str, Any] = json.loads(self.body)["condition"]
        return condition


class Receiver:
    """An HTTP server that takes every message; a context manager."""

    def __init__(self) -> None:
        self.delivered: list[Delivered] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:  # the name that http.server calls
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                receiver.delivered.append(Delivered(headers, body))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/alerts"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


@dataclass(frozen=True, slots=True)
class Row:
    """One history row of a W&B log: its ``_step``, and the trainer's step where it has one."""

    tracker_step: int
    trainer_step: int | None


def wandb_rows(segment: Path) -> list[Row]:
    """Return every row of a segment, decoded by wandb's own protobuf classes.

    Nothing of this project reads here, so that what it says can be compared with this.
    """
    from wandb.proto.wandb_internal_pb2 import Record  # noqa: PLC0415 - loading it takes 0.3 s

    rows = []
    for payload in _payloads((segment / f"run-{RUN_ID}.wandb").read_bytes()):
        record = Record.FromString(payload)
        if record.WhichOneof("record_type") == "history":
            items = {
                item.key or ".".join(item.nested_key): json.loads(item.value_json)
                for item in record.history.item
            }
            step = items.get(STEP_KEY)
            rows.append(Row(items["_step"], None if step is None else int(step)))
    return rows


def _payloads(log: bytes) -> Iterator[bytes]:
    """Yield the records of a log that is whole up to its end: LevelDB's blocks and chunks."""
    at, held = 7, b""
    while True:
        if (left := 32768 - at % 32768) < 7:
            at += left
        if at + 7 > len(log):
            return
        _, length, kind = struct.unpack_from("<IHB", log, at)
        if at + 7 + length > len(log):
            return
        held += log[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in {1, 4}:
            yield held
            held = b""


def segments(home: Path) -> list[Path]:
    """Return the directories that W&B's processes have logged into, the oldest first."""
    return sorted(home.glob(f"wandb/offline-run-*-{RUN_ID}"))


def wait_until(true: Callable[[], bool], what: str) -> None:
    """Wait for something that shows only on disk."""
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, f"not in time: {what}"
        time.sleep(0.05)
