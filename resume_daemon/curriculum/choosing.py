"""What is done about each curriculum state file of a run, and why: the rules."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resume_daemon.curriculum.proposal import Action, Proposal
from resume_daemon.curriculum.restore import plan_restore
from resume_daemon.curriculum.snapshot import (
    CURRICULUM,
    Snapshot,
    list_snapshots,
    read_snapshot,
)
from resume_daemon.errors import UsageError
from resume_daemon.repair.steps import WriteFile

if TYPE_CHECKING:
    from resume_daemon.curriculum.diagnosis import Diagnosis
    from resume_daemon.state_directory import StateDirectory


def propose_restore(
    found: Diagnosis, state: StateDirectory | None, checkpoint: str
) -> tuple[Proposal, ...]:
    """Return how the versions that belong to a checkpoint are put back.

    Raises:
        UsageError: Nothing was kept for it.
        FormatError: What was kept is damaged, holds no curriculum state, or leaves the run.
        ResumeDaemonError: What is there cannot be read.
    """
    snapshot = snapshot_of(state, checkpoint)
    plan = plan_restore(snapshot, found.run)
    proposals = [
        Proposal(
            step.file,
            Action.RESTORE,
            step.sentence,
            (
                WriteFile(
                    step.target,
                    step.before,
                    snapshot.content(CURRICULUM + step.file),
                    f"restore {step.file}: {step.sentence}",
                ),
            ),
        )
        for step in plan.steps
    ]
    proposals += [
        Proposal(file, Action.NOTHING, f"it is the version of {snapshot.index.checkpoint} already")
        for file in plan.unchanged
    ]
    return tuple(proposals)


def snapshot_of(state: StateDirectory | None, checkpoint: str) -> Snapshot:
    """Return the snapshot of a checkpoint, verified.

    Raises:
        UsageError: There is none.
        FormatError: It is damaged.
    """
    name = checkpoint.rstrip("/").rpartition("/")[2]
    known = [path.name for path in list_snapshots(state.snapshots)] if state is not None else []
    if state is None or name not in known:
        listed = ", ".join(sorted(known, key=lambda each: (len(each), each))[-5:])
        raise UsageError(
            "restore the curriculum state of",
            checkpoint,
            "none was kept for it",
            hint=f"There are those of {listed}." if listed else "No daemon has kept any.",
        )
    return read_snapshot(state.snapshots / name)
