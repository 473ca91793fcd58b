"""How long after a trainer closes the last file of a checkpoint does its verdict stand?

Measured is what remains beyond the settling time and the reading itself: noticing, judging,
flushing manifest and ledger. The peer is the plain notice: ``watchdog``'s own observer reporting
that the same file was closed.

Run: ``python benchmarks/verdict_latency.py [--checkpoints 20]``.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from watchdog.events import FileSystemEventHandler
from watchdog.observers import Observer

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks._daemon import Beside, publish
from tests.checkpoints import trainer_state_at, write_checkpoint, write_json

SETTLE = 1.0


class _Closed(FileSystemEventHandler):
    """Notes when the last file of a checkpoint was closed, as the peer saw it."""

    def __init__(self) -> None:
        self.at: dict[str, float] = {}

    def on_closed(self, event: Any) -> None:
        path = Path(str(event.src_path))
        if path.name == "trainer_state.json":
            self.at[path.parent.name] = time.time()


def main() -> None:
    """Write checkpoints beside a daemon and print the medians."""
    parser = argparse.ArgumentParser(description="Latency from the last close to the verdict.")
    parser.add_argument("--checkpoints", type=int, default=20)
    count = parser.parse_args().checkpoints
    with tempfile.TemporaryDirectory() as directory:
        run = Path(directory) / "run"
        run.mkdir()
        beside = Beside(run, f"watch: {{settle_seconds: {SETTLE}}}\n")
        beside.wait_for(lambda: bool(beside.records("daemon")))
        peer = _Closed()
        observer = Observer()
        observer.schedule(peer, str(run), recursive=True)
        observer.start()
        closed: dict[str, float] = {}
        for number in range(1, count + 1):
            step = number * 5
            checkpoint = write_checkpoint(run, step)
            write_json(checkpoint / "trainer_state.json", trainer_state_at(step))
            closed[checkpoint.name] = time.time()
            beside.wait_for(lambda n=number: len(beside.records("verdict")) >= n)  # type: ignore[misc]
        verdicts = {
            str(r.fields["checkpoint"]): (r.at.timestamp(), float(r.fields["seconds"]))
            for r in beside.records("verdict")
        }
        beside.stop()
        observer.stop()
        observer.join()
    beyond = [at - closed[name] - SETTLE - took for name, (at, took) in verdicts.items()]
    notice = [peer.at[name] - closed[name] for name in closed if name in peer.at]
    publish(
        "verdict_latency",
        [
            (
                "close to verdict, beyond settling and reading: median",
                statistics.median(beyond) * 1e3,
                "ms",
                100,
            ),
            ("the same, worst", max(beyond) * 1e3, "ms", None),
            (
                "peer: watchdog's notice of the close, median",
                statistics.median(notice) * 1e3 if notice else None,
                "ms",
                None,
            ),
        ],
    )


if __name__ == "__main__":
    main()
