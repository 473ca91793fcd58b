"""What the logs of W&B on this machine, its key and the ledger say of the run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resume_daemon.doctor.tracking import LocalRun, TrackerFacts
from resume_daemon.errors import UsageError
from resume_daemon.trackers.wandb_access import find_access
from resume_daemon.trackers.wandb_discovery import (
    candidate_segments,
    find_wandb_directories,
    segment_run_id,
)

if TYPE_CHECKING:
    from pathlib import Path

    from resume_daemon.doctor.host import Host
    from resume_daemon.ledger.queries import RunState

_OFFLINE = frozenset({"offline", "dryrun", "disabled"})


def recorded_ids(known: RunState) -> tuple[str, ...]:
    """Return the W&B ids that a daemon recorded for the run."""
    ids = (pair.run_id for pair in known.pair_in_segment.values() if pair.run_id)
    return tuple(dict.fromkeys(ids))


def tracker_facts(
    run: Path,
    host: Host,
    recorded: tuple[str, ...],
    *,
    since: float,
    named: str | None,
    wandb_version: str | None,
) -> TrackerFacts:
    """Return what is known of the tracker.

    Args:
        run: The run directory.
        host: The machine.
        recorded: Ids that the ledger has.
        since: When the run began at the latest, in seconds since the epoch.
        named: The W&B run that the user names, or None.
        wandb_version: Of the trainer's wandb, or None.
    """
    segments: dict[str, list[Path]] = {}
    found = find_wandb_directories(run, None, host.environ, host.proc)
    for each in found:
        for segment in candidate_segments(each, run, int(since * 1e9)):
            if (run_id := segment_run_id(segment)) is not None:
                segments.setdefault(run_id, []).append(segment)
    key: bool | None
    try:
        access = find_access(host.environ, host.home, wandb_version)
        key = access is not None
    except UsageError:
        key = None
    return TrackerFacts(
        directories=tuple(str(each.path) for each in found),
        local=tuple(
            LocalRun(
                run_id, len(paths), online=any(not p.name.startswith("offline-") for p in paths)
            )
            for run_id, paths in segments.items()
        ),
        recorded=recorded,
        named=named or host.environ.get("WANDB_RUN_ID") or None,
        key=key,
        offline=host.environ.get("WANDB_MODE", "") in _OFFLINE,
    )
