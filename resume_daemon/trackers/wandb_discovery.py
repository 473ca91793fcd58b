"""Where W&B writes the log of a run, and which of the segments there may belong to it.

Source of the layout: ``Settings.wandb_dir`` in wandb's ``sdk/wandb_settings.py``: below
``$WANDB_DIR`` (default: the trainer's working directory) a directory ``wandb``, or ``.wandb`` where
one exists; in it one ``run-<time>-<id>`` or ``offline-run-<time>-<id>`` per process (a "segment"),
and links such as ``latest-run``, which are not followed here. Checked with wandb 0.28.0 to 0.31.0.
"""

from __future__ import annotations

import heapq
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from resume_daemon.errors import ResumeDaemonError
from resume_daemon.files import is_inside, open_regular
from resume_daemon.trackers.wandb_local import list_segments

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

MAX_SEGMENTS = 1000
"""Segments of one directory that are looked at, the newest ones."""

MAX_PROCESSES = 4096
"""Processes that are looked at, the newest ones."""

_MAX_DESCRIPTORS = 1024
_MAX_BYTES = 256 * 1024
NAMES = (".wandb", "wandb")
"""What W&B calls its directory."""


@dataclass(frozen=True, slots=True)
class Found:
    """A directory that holds W&B segments, and how it was found ("the setting", "process 17")."""

    path: Path
    how: str


def find_wandb_directories(
    run: Path,
    configured: Path | None,
    environ: Mapping[str, str],
    proc: Path = Path("/proc"),
) -> list[Found]:
    """Return every directory in which W&B may log this run, the likeliest first.

    Limits: a process is taken for the trainer when it belongs to the owner of the run directory and
    works in it, has a file in it open, or names it in its command line; a trainer that gets its
    output directory from a configuration file shows itself only once it has a file open there.
    Paths of a process in a container are read as the container sees them.

    Args:
        run: The run directory.
        configured: The setting, which overrides all else: the directory with the segments, or the
            one above it (what ``WANDB_DIR`` would be).
        environ: The daemon's environment.
        proc: The process file system.
    """
    if configured is not None:
        places = [(configured, "the setting")]
        return _that_hold_segments([*places, *_below(configured, "the setting")])
    places = [*_below(run, "in the run"), *_below(run.parent, "beside the run")]
    if directory := environ.get("WANDB_DIR"):
        places += _below(Path(directory), "WANDB_DIR")
    for pid in _pids(proc):
        places += _of_process(proc / str(pid), f"process {pid}", run)
    return _that_hold_segments(places)


def candidate_segments(
    found: Found, run: Path, since_ns: int, run_id: str | None = None
) -> list[Path]:
    """Return the segments that may belong to a run, in the order in which they started.

    With a ``run_id``, those of that W&B run. Otherwise all of them where the directory lies inside
    the run; elsewhere those that were still written to after the run began.

    Limits: times cannot tell apart two runs that train at once and share a directory, nor rule out
    a later run. More than one W&B run id in the answer means: not decided by this. Segment names
    carry local time, so the order is unsure across a change of the clock.

    Args:
        found: One of ``find_wandb_directories``.
        run: The run directory.
        since_ns: When the run began, in nanoseconds since the epoch: at the latest the oldest mtime
            among its checkpoints.
        run_id: The W&B run id, where the configuration names it.
    """
    segments = _segments(found.path)
    if run_id is not None:
        return [segment for segment in segments if segment_run_id(segment) == run_id]
    if is_inside(found.path, run):
        return segments
    return [segment for segment in segments if _last_written_ns(segment) >= since_ns]


def segment_run_id(segment: Path) -> str | None:
    """Return the W&B run id of a segment, or None where it has no log yet.

    It is read from the name of the log, ``run-<id>.wandb``: the name of the directory may end in
    ``-1`` when two processes start in one second.
    """
    for name in _entries(segment):
        if name.startswith("run-") and name.endswith(".wandb"):
            return name[len("run-") : -len(".wandb")]
    return None


def _below(directory: Path, how: str) -> list[tuple[Path, str]]:
    return [(directory / name, how) for name in NAMES]


def _that_hold_segments(places: Sequence[tuple[Path, str]]) -> list[Found]:
    found: dict[str, Found] = {}
    for path, how in places:
        real = os.path.realpath(path)
        if real not in found and _holds_segments(path):
            found[real] = Found(Path(real), how)
    return list(found.values())


def _segments(directory: Path) -> list[Path]:
    try:
        return list_segments(directory)[-MAX_SEGMENTS:]
    except ResumeDaemonError:
        return []  # Closed to us since it was found.


def _holds_segments(directory: Path) -> bool:
    return any(
        name.startswith(("run-", "offline-run-")) and _is_directory(directory / name)
        for name in _entries(directory)
    )


def _last_written_ns(segment: Path) -> int:
    """Return when W&B last wrote to a segment: its log is buffered, its debug log is not."""
    logs = (segment / name for name in _entries(segment) if name.endswith(".wandb"))
    newest = 0
    for path in (segment, segment / "logs" / "debug-internal.log", *logs):
        try:
            newest = max(newest, path.lstat().st_mtime_ns)
        except OSError:
            continue
    return newest


def _is_directory(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _entries(directory: Path) -> Iterator[str]:
    """Yield the names in a directory; one that is gone or closed to us has none."""
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                yield entry.name
    except OSError:
        return


def _pids(proc: Path) -> list[int]:
    numbers = (int(name) for name in _entries(proc) if name.isdecimal())
    return heapq.nlargest(MAX_PROCESSES, numbers)


def _of_process(process: Path, how: str, run: Path) -> list[tuple[Path, str]]:
    """Return where a process would have W&B log, if it looks like the trainer of this run."""
    try:
        if process.stat().st_uid != run.stat().st_uid:
            return []
        working = Path(process / "cwd").readlink()
    except OSError:
        return []  # It ended, or is not ours to look at.
    arguments = _strings(process / "cmdline")
    if any("resume-daemon" in part or "resume_daemon" in part for part in arguments[:3]):
        return []  # This program names the run too, from wherever it was started.
    real = Path(os.path.realpath(run))
    named = _names(arguments, working, {real, Path.cwd() / run})
    if not (named or working.is_relative_to(real) or _has_open(process / "fd", real)):
        return []
    places = _below(working, how)
    for setting in _strings(process / "environ"):
        name, _, value = setting.partition("=")
        if name == "WANDB_DIR" and value:
            places = [*_below(working / value, how), *places]
    return places


def _names(arguments: Sequence[str], working: Path, run: set[Path]) -> bool:
    """Return whether an argument, or what follows its ``=``, is a path to the run or into it."""
    for argument in arguments:
        for text in {argument, argument.partition("=")[2]} - {""}:
            path = Path(os.path.normpath(working / text))
            if any(path.is_relative_to(name) for name in run):
                return True
    return False


def _has_open(descriptors: Path, run: Path) -> bool:
    for number, name in enumerate(_entries(descriptors)):
        if number == _MAX_DESCRIPTORS:
            break
        try:
            if (descriptors / name).readlink().is_relative_to(run):
                return True
        except OSError:
            continue  # It was closed since.
    return False


def _strings(path: Path) -> list[str]:
    """Return the NUL-separated strings of ``cmdline`` or ``environ``, as far as they are read."""
    try:
        with open_regular(path) as fd:
            content = os.read(fd, _MAX_BYTES)
    except (OSError, ResumeDaemonError):
        return []
    return [os.fsdecode(part) for part in content.split(b"\0") if part]
