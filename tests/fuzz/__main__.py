"""Fuzz each format for so many inputs, and print what came of it: ``make fuzz``.

Usage: ``python -m tests.fuzz [--runs N] [--format NAME] [--folder DIRECTORY] [--jobs N]``. Inputs
that found something new are kept in the folder, so that the next run begins where this one ended.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from resume_daemon.formats.content import Format
from tests.fuzz.targets import TARGETS


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run over one format did.

    Attributes:
        inputs: How many were read.
        seconds: How long that took.
        crashes: What must not happen, and how often it did.
        memory: The most MiB beyond what the process had before the first input.
        ended: Whether the run came to its end.
    """

    inputs: int
    seconds: float
    crashes: dict[str, int]
    memory: int
    ended: bool


def main(arguments: list[str] | None = None) -> int:
    """Return 0 if nothing happened that must not."""
    parser = argparse.ArgumentParser(prog="make fuzz", description="Fuzz the readers of formats.")
    parser.add_argument("--runs", type=int, default=1_000_000, help="inputs of each format")
    parser.add_argument("--format", default="all", help=f"one of: {', '.join(TARGETS)}")
    parser.add_argument("--folder", type=Path, default=Path(".fuzz"), help="where inputs are kept")
    parser.add_argument("--jobs", type=int, default=1, help="formats at the same time")
    options = parser.parse_args(arguments)
    chosen = list(TARGETS) if options.format == "all" else [Format(options.format)]
    print(f"{'format':14} {'inputs':>9} {'s':>6} {'inputs/s':>8} {'MiB':>4}  crashes")  # noqa: T201
    good = True
    with ThreadPoolExecutor(options.jobs) as pool:
        runs = (pool.submit(_fuzz, each, options.folder.resolve(), options.runs) for each in chosen)
        for each, run in zip(chosen, list(runs), strict=True):
            found = run.result()
            rate = found.inputs / max(found.seconds, 0.001)
            told = ", ".join(f"{place} ({times})" for place, times in found.crashes.items())
            if not found.ended:
                told = f"ended early; see {options.folder / each / 'log'}" + f"; {told}" * bool(
                    told
                )
            print(  # noqa: T201
                f"{each:14} {found.inputs:9} {found.seconds:6.0f} {rate:8.0f} {found.memory:4}  "
                f"{told or 'none'}",
                flush=True,
            )
            good = good and found.ended and not found.crashes
    return 0 if good else 1


def _fuzz(encoding: Format, folder: Path, runs: int) -> Outcome:
    own = folder / encoding
    own.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "tests.fuzz.one", encoding, str(own), f"-runs={runs}"]
    begun = time.monotonic()
    with (own / "log").open("wb") as log:
        status = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=False)
    seconds = time.monotonic() - begun
    text = (own / "log").read_text(errors="replace")
    if found := re.search(r"^work: (.+)$", text, re.MULTILINE):
        shutil.rmtree(found[1], ignore_errors=True)
    crashes: dict[str, int] = {}
    for place in re.findall(r"^crash: (.+)$", text, re.MULTILINE):
        crashes[place] = crashes.get(place, 0) + 1
    return Outcome(
        inputs=_number(r"number_of_executed_units:\s*(\d+)", text),
        seconds=seconds,
        crashes=crashes,
        memory=_number(r"peak_rss_mb:\s*(\d+)", text) - _number(r"^baseline: (\d+)", text),
        ended=status.returncode == 0,
    )


def _number(pattern: str, text: str) -> int:
    found = re.search(pattern, text, re.MULTILINE)
    return int(found[1]) if found else 0


if __name__ == "__main__":
    sys.exit(main())
