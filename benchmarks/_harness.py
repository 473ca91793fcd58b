"""Compare ourselves with peers fairly: in turns, in the same run, on the same warm file."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True, slots=True)
class Side:
    """One of those compared.

    Attributes:
        name: As it stands in the table.
        seconds: Does the work once and returns how long it took; None where it is not installed.
        install: How to install it.
    """

    name: str
    seconds: Callable[[], float] | None
    install: str = ""


@dataclass(frozen=True, slots=True)
class Target:
    """``side`` is to be at least ``at_least`` times as fast as ``peer``."""

    side: str
    peer: str
    at_least: float


def in_process(work: Callable[[], object]) -> Callable[[], float]:
    """Return a timer of a call in this process."""

    def seconds() -> float:
        begin = time.perf_counter()
        work()
        return time.perf_counter() - begin

    return seconds


def whole_process(*command: str) -> Callable[[], float]:
    """Return a timer of a command from its start to its end, its output thrown away."""
    return in_process(lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL))


def warm_page_cache(path: Path) -> None:
    """Bring every byte of a file into memory, so that no side pays for the disk."""
    buffer = bytearray(1 << 20)
    with path.open("rb", buffering=0) as stream:
        while stream.readinto(buffer):
            pass


def compare(
    sides: Sequence[Side], *, rounds: int, before_each: Callable[[], None]
) -> dict[str, list[float]]:
    """Return the seconds of every installed side in every round; the sides take turns.

    What slows the machine down for a while then slows all of them down, and the ratio within a
    round stays honest. One round more than asked for is run first and not counted.
    """
    found: dict[str, list[float]] = {side.name: [] for side in sides if side.seconds}
    for count in range(rounds + 1):
        for side in sides:
            if side.seconds is None:
                continue
            before_each()
            seconds = side.seconds()
            if count:
                found[side.name].append(seconds)
    return found


def ratio(found: dict[str, list[float]], target: Target) -> float | None:
    """Return how many times as fast as the peer the side is: the median over the rounds' pairs."""
    if not found.get(target.side) or not found.get(target.peer):
        return None
    pairs = zip(found[target.side], found[target.peer], strict=True)
    return statistics.median(peer / own for own, peer in pairs)


def report(
    name: str,
    sides: Sequence[Side],
    found: dict[str, list[float]],
    targets: Sequence[Target],
    *,
    size: int,
) -> None:
    """Print a table, and write everything measured to ``results/<name>.json``.

    Args:
        name: The benchmark's name.
        sides: All sides, those that are missing too.
        found: What ``compare`` returned.
        targets: What was aimed at.
        size: Bytes that each side worked through, for the throughput.
    """
    rows: dict[str, dict[str, Any]] = {}
    print(f"{'side':34} {'median s':>9} {'best s':>9} {'GB/s':>7}")
    for side in sides:
        if side.seconds is None:
            rows[side.name] = {"missing": True, "install": side.install}
            print(f"{side.name:34} not installed: {side.install}")
            continue
        seconds = found[side.name]
        median = statistics.median(seconds)
        rows[side.name] = {
            "seconds": seconds,
            "median": median,
            "gb_per_second": size / median / 1e9,
        }
        print(f"{side.name:34} {median:9.3f} {min(seconds):9.3f} {size / median / 1e9:7.2f}")
    verdicts = []
    for target in targets:
        reached = ratio(found, target)
        met = None if reached is None else reached >= target.at_least
        words = {None: "not measured", True: "met", False: "NOT MET"}[met]
        measured = "     -" if reached is None else f"{reached:6.2f}"
        print(f"{target.side} / {target.peer}: {measured}, target {target.at_least:.2f}: {words}")
        verdicts.append(
            {
                "side": target.side,
                "peer": target.peer,
                "at_least": target.at_least,
                "ratio": reached,
                "met": met,
            }
        )
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    document = {
        "benchmark": name,
        "machine": machine(),
        "bytes": size,
        "sides": rows,
        "targets": verdicts,
    }
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    print(f"written to {path}")


def machine() -> dict[str, Any]:
    """Return what a reader needs to judge the figures: processor, cores, load, kernel, Python."""
    processor = ""
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            processor = line.partition(":")[2].strip()
            break
    return {
        "processor": processor,
        "cores": len(os.sched_getaffinity(0)),
        "load_average": os.getloadavg()[0],
        "kernel": platform.release(),
        "python": platform.python_version(),
    }
