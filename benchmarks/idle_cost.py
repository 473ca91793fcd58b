"""What does the daemon cost while nothing happens, with many checkpoints known?

The peer is ``watchdog``'s recursive observer over the same tree, which only watches.

Run: ``python benchmarks/idle_cost.py [--checkpoints 500] [--seconds 60]``.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks._daemon import Beside, cpu_seconds, publish, resident_mib
from tests.checkpoints import write_checkpoint

_PEER = """
import sys, time
from watchdog.events import FileSystemEventHandler
from watchdog.observers import Observer
observer = Observer()
observer.schedule(FileSystemEventHandler(), sys.argv[1], recursive=True)
observer.start()
print("ready", flush=True)
time.sleep(3600)
"""


def main() -> None:
    """Let the daemon know all checkpoints, then watch it do nothing."""
    parser = argparse.ArgumentParser(description="Cost of an idle daemon.")
    parser.add_argument("--checkpoints", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=60.0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        run = Path(directory) / "run"
        run.mkdir()
        for number in range(1, arguments.checkpoints + 1):
            write_checkpoint(run, number)
        beside = Beside(run, "watch: {settle_seconds: 0.5}\n")
        beside.wait_for(lambda: len(beside.records("snapshot")) >= arguments.checkpoints)
        time.sleep(2)  # Let the last snapshot's flush pass.
        own = _busy(beside.process.pid, arguments.seconds)
        memory = resident_mib(beside.process.pid)
        beside.stop()
        peer = subprocess.Popen(
            [sys.executable, "-c", _PEER, str(run)], stdout=subprocess.PIPE, text=True
        )
        if peer.stdout is not None:
            peer.stdout.readline()
        peer_busy = _busy(peer.pid, min(arguments.seconds, 20.0))
        peer_memory = resident_mib(peer.pid)
        peer.kill()
        peer.wait()
    publish(
        "idle_cost",
        [
            (f"one core, idle with {arguments.checkpoints} checkpoints", own, "%", 0.5),
            ("resident memory", memory, "MiB", 120),
            ("peer: watchdog recursive, one core", peer_busy, "%", None),
            ("peer: watchdog recursive, resident memory", peer_memory, "MiB", None),
        ],
    )


def _busy(pid: int, seconds: float) -> float:
    """Return the percentage of one core that a process uses over a time."""
    before, begin = cpu_seconds(pid), time.monotonic()
    time.sleep(seconds)
    return (cpu_seconds(pid) - before) / (time.monotonic() - begin) * 100


if __name__ == "__main__":
    main()
