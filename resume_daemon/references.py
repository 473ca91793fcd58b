"""What a checkpoint of a run is compared with, by what a daemon has recorded of the run.

One rule for all who verify: the daemon, and the commands that have its ledger.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from resume_daemon.findings import Verdict
from resume_daemon.layouts.registry import step_of
from resume_daemon.manifest import find_manifest, recorded_manifest
from resume_daemon.verification import References

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from resume_daemon.ledger.queries import RunState
    from resume_daemon.manifest import Manifest

_KEPT = frozenset({Verdict.SOUND, Verdict.DEGRADED})


def known_step(name: str, known: RunState) -> int | None:
    """Return the step of a checkpoint, as it was recorded, or else as its name says."""
    found = known.checkpoints.get(name)
    return found.step if found is not None and found.step is not None else step_of(name)


def references_of(
    name: str,
    known: RunState,
    manifests: Path | None,
    manifest_of: Callable[[str], Manifest | None] | None = None,
) -> References:
    """Return what a checkpoint is compared with: sound and degraded ones before it, and itself.

    Checkpoints that were rotated since count: their manifests stay.

    Args:
        name: The checkpoint.
        known: What the ledger says of the run.
        manifests: The directory of manifests, or None where no daemon has watched.
        manifest_of: Reads the manifest that a checkpoint's last verdict refers to; None for the
            plain way.
    """
    if manifests is None:
        return References()
    step = known_step(name, known)
    earlier = sorted(
        (
            (state.step, state.checkpoint)
            for state in known.checkpoints.values()
            if state.step is not None
            and step is not None
            and state.step < step
            and state.verdict in _KEPT
        ),
        reverse=True,
    )

    def read(checkpoint: str) -> Manifest | None:
        digest = known.checkpoints[checkpoint].manifest
        return None if digest is None else find_manifest(manifests / f"{checkpoint}.json", digest)

    found = (m for _, each in earlier if (m := (manifest_of or read)(each)) is not None)
    # What it was when it was sound: a file that is put back as it was is no change.
    recorded = recorded_manifest(manifests / f"{name}.json")
    return References.after(tuple(islice(found, References.MOST)), recorded)
