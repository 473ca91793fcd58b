"""How many steps per second does a training lose while checkpoints are verified beside it?

A real training in torch (``_training_loop.py``) runs without a pause on every core, and a daemon
beside it verifies checkpoints all the time, except that it is stopped (``SIGSTOP``) every other
moment: a stretch alone, one beside, one alone, and so on. Each stretch beside is compared with the
mean of the two around it; how much these two differ is what the machine itself does, and is shown
as noise. Stretches are short and many, as a shared machine changes its speed from minute to minute.

All checkpoints are links to one weights file, so a daemon has as much to read as it can manage.
With ``--disk`` that file is dropped from the page cache first, and the daemon, which leaves the
cache as it found it, reads it from the disk each time; the default is from memory, where hashing
competes for the processors and for nothing else.

With ``--apart`` the daemon is in a session of its own, as one from another terminal is: where
``/proc/sys/kernel/sched_autogroup_enabled`` is 1, the kernel then shares the processors between the
two sessions, and priorities do not count between them. So it is with a systemd service.

Run: ``python benchmarks/training_interference.py [--rounds 30] [--seconds 2] [--disk]
[--defaults-only] [--apart]``.
"""

from __future__ import annotations

import argparse
import itertools
import math
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks._daemon import Beside, cpu_seconds, publish
from benchmarks._harness import warm_page_cache
from benchmarks.deep_verification import write_safetensors
from tests.checkpoints import write_checkpoint

if TYPE_CHECKING:
    from collections.abc import Sequence

CHECKPOINTS = 300
SETTLE_SECONDS = 0.2
"""Between two stretches, so that neither a start nor a stop falls into one."""

FIRST_SECONDS = 3.0
"""What a daemon that has begun to verify is given before it is measured."""

DEFAULT = "with its defaults"
CONFIGURATIONS = {
    DEFAULT: "",
    "with one worker": "verify: {workers: 1}\n",
    "with priority: normal": "verify: {priority: normal}\n",
}


def main() -> None:
    """Let the training run, and the daemons take turns beside it."""
    parser = argparse.ArgumentParser(description="What a verification costs a training.")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--seconds", type=float, default=2.0, help="of one stretch")
    parser.add_argument("--gib", type=float, default=1.0, help="size of the weights file")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--disk", action="store_true", help="read from the disk, not from memory")
    parser.add_argument("--directory", type=Path, help="where files are made (default: temporary)")
    parser.add_argument(
        "--defaults-only", action="store_true", help="only the daemon with its defaults"
    )
    parser.add_argument(
        "--apart", action="store_true", help="the daemon in a session of its own (autogroup)"
    )
    arguments = parser.parse_args()
    configurations = (
        {DEFAULT: CONFIGURATIONS[DEFAULT]} if arguments.defaults_only else CONFIGURATIONS
    )
    with tempfile.TemporaryDirectory(dir=arguments.directory) as name:
        directory = Path(name)
        weights = directory / "weights"
        write_safetensors(weights, int(arguments.gib * (1 << 30)))
        run = make_run(directory / "run", weights)
        if arguments.disk:
            forget(weights)
        else:
            warm_page_cache(weights)
        steps = directory / "steps"
        with steps.open("wb") as stream:
            loop = Path(__file__).with_name("_training_loop.py")
            training = subprocess.Popen(
                [sys.executable, str(loop), str(directory), str(arguments.threads)], stdout=stream
            )
        try:
            wait_for_steps(training, steps)
            measured = {
                name: take_turns(run, text, arguments.seconds, arguments.rounds, arguments.apart)
                for name, text in configurations.items()
            }
        finally:
            training.kill()
            training.wait()
        moments = [float(line) for line in steps.read_text(encoding="utf-8").split("\n")[:-1]]
    rows: list[tuple[str, float | None, str, float | None]] = []
    for name, turns in measured.items():
        losses, noise = compare_stretches(moments, turns)
        most = 1.0 if name == DEFAULT else None
        error = statistics.stdev(losses) / math.sqrt(len(losses))
        rows += [
            (f"steps lost beside a daemon {name}, mean", statistics.mean(losses), "%", most),
            ("  its standard error", error, "%", None),
            ("  median", statistics.median(losses), "%", None),
            ("  cores that the daemon used", turns.cores, "", None),
            ("  noise: two stretches alone differ by, median", statistics.median(noise), "%", None),
            ("  steps per second alone", rate(moments, turns.alone[0]), "/s", None),
        ]
    kind = "_disk" * arguments.disk + "_apart" * arguments.apart
    publish(f"training_interference{kind}", rows)


def make_run(run: Path, weights: Path) -> Path:
    """Make checkpoints that share one weights file."""
    for number in range(1, CHECKPOINTS + 1):
        checkpoint = write_checkpoint(run, number)
        (checkpoint / "model.safetensors").unlink()
        (checkpoint / "model.safetensors").hardlink_to(weights)
    return run


def forget(path: Path) -> None:
    """Drop a file from the page cache."""
    with path.open("rb") as stream:
        os.fsync(stream.fileno())
        os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def wait_for_steps(training: subprocess.Popen[bytes], steps: Path) -> None:
    """Wait until the training is well under way."""
    while steps.stat().st_size < 50 * 16:
        if training.poll() is not None:
            raise SystemExit("the training ended; is torch installed?")
        time.sleep(0.2)


@dataclass(frozen=True)
class Turns:
    """From when to when (monotonic) the training was alone, and not; one more alone than beside."""

    alone: list[tuple[float, float]]
    beside: list[tuple[float, float]]
    cores: float


def take_turns(run: Path, configuration: str, seconds: float, rounds: int, apart: bool) -> Turns:
    """Let a daemon verify every other stretch."""
    shutil.rmtree(run / ".resume_daemon", ignore_errors=True)
    daemon = Beside(run, f"log: {{level: debug}}\n{configuration}", apart=apart)
    pid, log = daemon.process.pid, run.with_suffix(".log")
    daemon.wait_for(lambda: "VerifyJob" in log.read_text(encoding="utf-8"))
    time.sleep(FIRST_SECONDS)
    os.kill(pid, signal.SIGSTOP)
    alone, beside, used = [stretch(seconds)], [], 0.0
    for _ in range(rounds):
        os.kill(pid, signal.SIGCONT)
        before = cpu_seconds(pid)
        beside.append(stretch(seconds))
        used += cpu_seconds(pid) - before
        os.kill(pid, signal.SIGSTOP)
        alone.append(stretch(seconds))
    os.kill(pid, signal.SIGCONT)
    if len(daemon.records("verdict")) >= CHECKPOINTS:
        raise SystemExit("the daemon had nothing left to do: make the file larger (--gib)")
    daemon.stop()
    return Turns(alone, beside, used / rounds / (SETTLE_SECONDS + seconds))


def stretch(seconds: float) -> tuple[float, float]:
    """Let time pass; return from when to when."""
    time.sleep(SETTLE_SECONDS)
    begin = time.monotonic()
    time.sleep(seconds)
    return begin, time.monotonic()


def compare_stretches(moments: Sequence[float], turns: Turns) -> tuple[list[float], list[float]]:
    """Return the steps lost in each stretch beside a daemon, and the noise; both in percent."""
    around = list(itertools.pairwise(rate(moments, each) for each in turns.alone))
    losses = [
        (1 - 2 * rate(moments, each) / (before + after)) * 100
        for each, (before, after) in zip(turns.beside, around, strict=True)
    ]
    return losses, [abs(1 - after / before) * 100 for before, after in around]


def rate(moments: Sequence[float], stretch: tuple[float, float]) -> float:
    """Return the steps per second from the first to the last step of a stretch."""
    inside = [moment for moment in moments if stretch[0] <= moment <= stretch[1]]
    return (len(inside) - 1) / (inside[-1] - inside[0])


if __name__ == "__main__":
    main()
