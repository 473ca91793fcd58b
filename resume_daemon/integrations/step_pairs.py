"""The trainer's own record of step pairs: a file per process, appended to, read by the daemon.

``<run>/.resume_daemon/trainer/pairs-<time>-<pid>.jsonl``, one JSON object per line. It is not the
ledger, which has one writer: the daemon takes over what it needs from here.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from resume_daemon.errors import ResumeDaemonError
from resume_daemon.files import read_bounded, write_all

DIRECTORY = "trainer"
"""In the sidecar."""

_LIMIT = 16 * 1024 * 1024
_LONGEST_NAME = 255


@dataclass(frozen=True, slots=True)
class TrainerPair:
    """One step of the trainer and the row of W&B that its log became.

    Attributes:
        trainer_step: ``state.global_step``.
        tracker_step: W&B's ``_step`` of that row, as its process counts.
        run_id: W&B's run.
        segment: The directory of W&B's process, by name.
    """

    trainer_step: int
    tracker_step: int
    run_id: str
    segment: str

    @classmethod
    def seen(cls, trainer_step: int, run: Any) -> Self | None:
        """Return the pair of the row that was logged just now; None where W&B cannot tell.

        ``run.step`` is the step of the *next* row (wandb ``wandb_run.py: Run.step``). It is a call
        to W&B's process, and raises where several processes write one run.
        """
        if run is None:
            return None
        try:
            step, run_id, directory = run.step, run.id, run.dir
        except Exception:  # noqa: BLE001 - nothing that W&B does may end the training
            return None
        if type(step) is not int or step < 1 or not run_id or not isinstance(directory, str):
            return None
        return cls(trainer_step, step - 1, str(run_id), Path(directory).parent.name)


class PairWriter:
    """Appends pairs for one process; the file is made with the first.

    Args:
        run: The trainer's output directory.
    """

    def __init__(self, run: Path) -> None:
        self._directory = run / ".resume_daemon" / DIRECTORY
        self._path = self._directory / f"pairs-{time.time_ns()}-{os.getpid()}.jsonl"

    def write(self, pair: TrainerPair) -> None:
        """Append a pair and flush it to the disk.

        Raises:
            OSError: It cannot be written.
        """
        self._directory.mkdir(parents=True, exist_ok=True)
        line = json.dumps(asdict(pair), separators=(",", ":")).encode() + b"\n"
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(self._path, flags, 0o644)
        try:
            write_all(fd, line)
            os.fsync(fd)
        finally:
            os.close(fd)


def read_pairs(run: Path) -> tuple[TrainerPair, ...]:
    """Return every pair that trainers of a run have written, oldest process first.

    A line that is torn or is no pair is passed over: the trainer was killed in it.
    """
    found: list[TrainerPair] = []
    directory = run / ".resume_daemon" / DIRECTORY
    try:
        names = sorted(os.listdir(directory))  # noqa: PTH208 - names, not paths
    except OSError:
        return ()
    for name in names:
        if not (name.startswith("pairs-") and name.endswith(".jsonl")):
            continue
        try:
            content = read_bounded(directory / name, _LIMIT)
        except ResumeDaemonError:
            continue
        found += [pair for line in content.split(b"\n") if (pair := _pair(line)) is not None]
    return tuple(found)


def _pair(line: bytes) -> TrainerPair | None:
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(fields, dict):
        return None
    steps = [fields.get(name) for name in ("trainer_step", "tracker_step")]
    names = [fields.get(name) for name in ("run_id", "segment")]
    whole: list[int] = [step for step in steps if type(step) is int and step >= 0]
    named = [name for name in names if isinstance(name, str) and 0 < len(name) <= _LONGEST_NAME]
    if (whole, named) != (steps, names):
        return None
    return TrainerPair(whole[0], whole[1], named[0], named[1])
