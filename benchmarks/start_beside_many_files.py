"""How soon is the daemon ready beside a run with a hundred thousand sample files?

The peer is ``watchdog``'s recursive observer on the same tree.

Run: ``python benchmarks/start_beside_many_files.py [--files 100000] [--checkpoints 10]``.
"""

from __future__ import annotations

import argparse
import os
import socket
import sys
import tempfile
import time
from pathlib import Path

from watchdog.events import FileSystemEventHandler
from watchdog.observers import Observer

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks._daemon import Beside, inotify_watches, publish
from tests.checkpoints import write_checkpoint

PER_DIRECTORY = 1000


def main() -> None:
    """Make the files, half of them in the run itself, and time the start until READY=1."""
    parser = argparse.ArgumentParser(description="Start beside many sample files.")
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--checkpoints", type=int, default=10)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        run = Path(directory) / "run"
        run.mkdir()
        for number in range(arguments.files):
            folder = run if number % 2 else run / "samples" / str(number // PER_DIRECTORY)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"completions_{number:06d}.parquet").touch()
        for number in range(1, arguments.checkpoints + 1):
            write_checkpoint(run, number * 5)
        ready = _time_to_ready(run, Path(directory) / "notify")
        beside = Beside(run, "watch: {settle_seconds: 0.5}\n")
        beside.wait_for(lambda: len(beside.records("snapshot")) >= arguments.checkpoints)
        watches = inotify_watches(beside.process.pid)
        beside.stop()
        begin = time.monotonic()
        observer = Observer()
        observer.schedule(FileSystemEventHandler(), str(run), recursive=True)
        observer.start()
        peer = time.monotonic() - begin
        peer_watches = inotify_watches(os.getpid())
        observer.stop()
        observer.join()
    publish(
        "start_beside_many_files",
        [
            (f"start to ready beside {arguments.files} files", ready, "s", 3),
            (f"inotify watches for {arguments.checkpoints} checkpoints", watches, "", 51),
            ("peer: watchdog recursive, start", peer, "s", None),
            ("peer: watchdog recursive, inotify watches", peer_watches, "", None),
        ],
    )


def _time_to_ready(run: Path, notify: Path) -> float:
    """Return the seconds from starting the process to its READY=1, the interpreter included."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(notify))
        manager.settimeout(60)
        os.environ["NOTIFY_SOCKET"] = str(notify)
        begin = time.monotonic()
        beside = Beside(run)
        del os.environ["NOTIFY_SOCKET"]
        while b"READY=1" not in manager.recv(4096):
            pass
        seconds = time.monotonic() - begin
        beside.stop()
    return seconds


if __name__ == "__main__":
    main()
