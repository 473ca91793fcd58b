"""What the logs of W&B on this machine, its key and the ledger say of the run."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from resume_daemon.doctor.tracking import LocalRun, TrackerFacts
from resume_daemon.errors import ResumeDaemonError, UsageError
from resume_daemon.trackers.wandb_access import find_access
from resume_daemon.trackers.wandb_discovery import (
    candidate_segments,
    find_wandb_directories,
    segment_run_id,
)
from resume_daemon.trackers.wandb_log import read_log
from resume_daemon.trackers.wandb_records import WireError, walk

if TYPE_CHECKING:
    from collections.abc import Mapping

    from resume_daemon.doctor.host import Host
    from resume_daemon.ledger.queries import RunState

_OFFLINE = frozenset({"offline", "dryrun", "disabled"})
_NEWEST = 3
"""Segments that are asked for the interpreter, the newest: one may have no record of it yet."""
_FIRST_RECORDS = 100
_BYTES = 2
_ENVIRONMENT, _EXECUTABLE = (26 << 3) | _BYTES, (14 << 3) | _BYTES


@dataclass(frozen=True, slots=True)
class Logs:
    """Logs of W&B that may be of this run.

    Attributes:
        directories: Where they lie.
        segments: By W&B's id of the run, in the order in which they started.
    """

    directories: tuple[Path, ...] = ()
    segments: Mapping[str, list[Path]] = field(default_factory=dict)


def logs_of(run: Path, host: Host, since: float) -> Logs:
    """Return the logs of W&B on this machine that may be of a run.

    Args:
        run: The run directory.
        host: The machine.
        since: When the run began at the latest, in seconds since the epoch.
    """
    segments: dict[str, list[Path]] = {}
    found = find_wandb_directories(run, None, host.environ, host.proc)
    for each in found:
        for segment in candidate_segments(each, run, int(since * 1e9)):
            if (run_id := segment_run_id(segment)) is not None:
                segments.setdefault(run_id, []).append(segment)
    return Logs(tuple(each.path for each in found), segments)


def recorded_ids(known: RunState) -> tuple[str, ...]:
    """Return the W&B ids that a daemon recorded for the run."""
    ids = (pair.run_id for pair in known.pair_in_segment.values() if pair.run_id)
    return tuple(dict.fromkeys(ids))


def recorded_python(logs: Logs, run_ids: tuple[str, ...]) -> tuple[Path, str] | None:
    """Return the interpreter that W&B noted last, and the segment in which it did.

    Args:
        logs: The logs.
        run_ids: W&B's ids of the run; of several, nothing tells which.
    """
    if len(run_ids) != 1:
        return None
    for segment in reversed(logs.segments.get(run_ids[0], [])[-_NEWEST:]):
        path = _executable(segment / f"run-{run_ids[0]}.wandb")
        if path is not None:
            return path, segment.name
    return None


def tracker_facts(
    logs: Logs,
    host: Host,
    recorded: tuple[str, ...],
    *,
    named: str | None,
    wandb_version: str | None,
) -> TrackerFacts:
    """Return what is known of the tracker.

    Args:
        logs: Those of W&B on this machine.
        host: The machine.
        recorded: Ids that the ledger has.
        named: The W&B run that the user names, or None.
        wandb_version: Of the trainer's wandb, or None.
    """
    key: bool | None
    try:
        access = find_access(host.environ, host.home, wandb_version)
        key = access is not None
    except UsageError:
        key = None
    return TrackerFacts(
        directories=tuple(str(each) for each in logs.directories),
        local=tuple(
            LocalRun(
                run_id, len(paths), online=any(not p.name.startswith("offline-") for p in paths)
            )
            for run_id, paths in logs.segments.items()
        ),
        recorded=recorded,
        named=named or host.environ.get("WANDB_RUN_ID") or None,
        key=key,
        offline=host.environ.get("WANDB_MODE", "") in _OFFLINE,
    )


def _executable(log: Path) -> Path | None:
    """Return the interpreter that a log names, where that file is still there.

    Source: wandb/proto/wandb_internal.proto, ``Record.environment`` and its ``executable``; among
    the first records, offline as well, as measured with wandb 0.31.
    """
    try:
        for payload, _ in read_log(log).records[:_FIRST_RECORDS]:
            for tag, start, end in walk(payload, 0, len(payload)):
                for inner, first, last in walk(payload, start, end) if tag == _ENVIRONMENT else ():
                    path = Path(payload[first:last].decode(errors="replace"))
                    if inner == _EXECUTABLE and path.is_absolute() and path.is_file():
                        return path
    except (ResumeDaemonError, WireError, IndexError, OSError, ValueError):
        return None  # It is one of several places to look; PATH is the next.
    return None
