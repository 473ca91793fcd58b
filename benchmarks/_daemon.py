"""A daemon in a process of its own, for benchmarks: started, watched from /proc, stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks._harness import RESULTS, machine
from resume_daemon.errors import ResumeDaemonError
from resume_daemon.ledger.reader import read_records

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from resume_daemon.ledger.record import Record

_TICKS = os.sysconf("SC_CLK_TCK")


class Beside:
    """A daemon beside ``run`` with the given configuration text added to the run's path.

    ``apart`` starts it in a session of its own, as from another terminal.
    """

    def __init__(self, run: Path, configuration: str = "", *, apart: bool = False) -> None:
        self.run = run
        config = run.with_suffix(".yaml")
        config.write_text(f"run: {run}\n{configuration}", encoding="utf-8")
        self._log = run.with_suffix(".log").open("wb")
        command = [sys.executable, "-m", "resume_daemon", "run", "--config", str(config)]
        self.process = subprocess.Popen(
            command, stdout=self._log, stderr=self._log, start_new_session=apart
        )

    def records(self, kind: str) -> list[Record]:
        """Return the records of a kind."""
        try:
            path = self.run / ".resume_daemon" / "ledger.jsonl"
            return [record for record in read_records(path) if record.kind == kind]
        except ResumeDaemonError:
            return []

    def wait_for(self, true: Callable[[], bool], timeout: float = 600.0) -> None:
        """Wait until something holds."""
        deadline = time.monotonic() + timeout
        while not true():
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise SystemExit(self.run.with_suffix(".log").read_text(encoding="utf-8"))
            time.sleep(0.05)

    def stop(self) -> None:
        """End it cleanly."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)
        self._log.close()


def cpu_seconds(pid: int) -> float:
    """Return the processor time that a process and its threads have used."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def resident_mib(pid: int) -> float:
    """Return the resident memory of a process in MiB."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


def inotify_watches(pid: int) -> int:
    """Return the kernel watches that a process holds."""
    found = 0
    for info in Path(f"/proc/{pid}/fdinfo").iterdir():
        try:
            lines = info.read_text(encoding="utf-8").splitlines()
        except OSError:
            continue
        found += sum(line.startswith("inotify wd:") for line in lines)
    return found


def publish(name: str, rows: Sequence[tuple[str, float | None, str, float | None]]) -> None:
    """Print a table of figures and write them to ``results/<name>.json``.

    Args:
        name: The benchmark's name.
        rows: What was measured, the figure (None: not measured), its unit, and the most that it
            should be (None: a peer's figure, to compare with).
    """
    document: list[dict[str, Any]] = []
    print(f"{'what':58} {'figure':>10}  {'target':>10}")
    for what, figure, unit, most in rows:
        shown = "-" if figure is None else f"{figure:.3g} {unit}"
        goal = "" if most is None else f"< {most:g}"
        met = None if most is None or figure is None else figure < most
        verdict = {None: "", True: "met", False: "NOT MET"}[met]
        print(f"{what:58} {shown:>10}  {goal:>10} {verdict}")
        document.append(
            {"what": what, "figure": figure, "unit": unit, "less_than": most, "met": met}
        )
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    content = {"benchmark": name, "machine": machine(), "rows": document}
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    print(f"written to {path}")
