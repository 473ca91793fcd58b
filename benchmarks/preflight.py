"""How long does a preflight hold up a launch script?

Whole processes, from the start of the interpreter to the exit status: beside a run that a daemon
has seen, and beside the same run without a ledger, so that headers and small files are read. The
peers are the program that only says its version, and ``plan``, which reads every byte where no
daemon has. On a busy machine processor time says more than the clock.

Run: ``python benchmarks/preflight.py [--checkpoints 20] [--gigabytes 4] [--files 100000]``.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks._daemon import publish
from tests.checkpoints import write_checkpoint

COMMAND = (sys.executable, "-m", "resume_daemon")
ROUNDS = 7
MOST_SECONDS = 2.0


def main() -> None:
    """Make the run, let a daemon see it, and time a preflight with and without its ledger."""
    parser = argparse.ArgumentParser(description="A preflight in a launch script.")
    parser.add_argument("--checkpoints", type=int, default=20)
    parser.add_argument("--gigabytes", type=int, default=4, help="of weights in the newest")
    parser.add_argument("--files", type=int, default=100_000, help="sample files in the run")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        run = Path(directory) / "run"
        for number in range(1, arguments.checkpoints + 1):
            write_checkpoint(run, number * 5)
        newest = run / f"checkpoint-{arguments.checkpoints * 5}"
        _add_weights(newest, arguments.gigabytes)
        for number in range(arguments.files):
            (run / f"completions_{number:06d}.parquet").touch()
        subprocess.run([*COMMAND, "run", "--once", run], capture_output=True, check=True)
        seen = _seconds("doctor", "--preflight", str(run))
        shutil.rmtree(run / ".resume_daemon")
        unseen = _seconds("doctor", "--preflight", str(run))
        floor = _seconds("--version")
        plan = _seconds("plan", str(run), rounds=1)
    size = f"{arguments.checkpoints} checkpoints, {arguments.files} sample files"
    publish(
        "preflight",
        [
            (f"seen by a daemon, {size}", seen[0], "s", MOST_SECONDS),
            ("  of that, processor time", seen[1], "s", None),
            (f"never seen, {arguments.gigabytes} GiB in the newest", unseen[0], "s", MOST_SECONDS),
            ("  of that, processor time", unseen[1], "s", None),
            ("peer: --version", floor[0], "s", None),
            ("  of that, processor time", floor[1], "s", None),
            ("peer: plan, never seen (every byte)", plan[0], "s", None),
        ],
    )


def _add_weights(checkpoint: Path, gigabytes: int) -> None:
    """Put more weights beside those of a checkpoint, in a folder that no layout reads as such."""
    folder = checkpoint / "draft_model"
    folder.mkdir()
    block = os.urandom(1 << 20)
    for number in range(gigabytes):
        with (folder / f"model-{number}.bin").open("wb") as file:
            for _ in range(1024):
                file.write(block)


def _seconds(*arguments: str, rounds: int = ROUNDS) -> tuple[float, float]:
    """Return the median seconds of a whole process, by the clock and of the processor.

    One more is run first and not counted.
    """
    found: list[float] = []
    used: list[float] = []
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("WANDB", "RESUME"))}
    for count in range(rounds + (rounds > 1)):
        begin, before = time.perf_counter(), _processor_time()
        subprocess.run([*COMMAND, *arguments], env=environ, capture_output=True, check=True)
        if count or rounds == 1:
            found.append(time.perf_counter() - begin)
            used.append(_processor_time() - before)
    return statistics.median(found), statistics.median(used)


def _processor_time() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
