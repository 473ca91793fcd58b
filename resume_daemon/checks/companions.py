"""Files beside a checkpoint that is a file: is what the checkpoint before had there again?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from resume_daemon.findings import Code, Finding, Severity
from resume_daemon.manifest import resource_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resume_daemon.evidence import Evidence

COMPANION_LOST = Code(
    "RD136",
    "companion-lost",
    Severity.WARNING,
    "A file that belongs to the checkpoint is not there, or is not of its step",
    "The checkpoint before has a replay buffer or normalisation statistics beside it; this one has "
    "none, or the very same file. The trainer resumes without what it was to save: with an empty "
    "buffer, with one of another step, or with observations scaled in another way.",
    "Resume from a checkpoint that has it, unless you removed it to save space.",
    "stable-baselines3 2.9 common/callbacks.py: CheckpointCallback",
)


def check(evidence: Evidence) -> Iterator[Finding]:
    """Yield a finding for each companion that the checkpoint before had, and this one has not."""
    before = evidence.previous
    if before is None or evidence.listing.file is None or before.step == evidence.step:
        return
    now, then = f"_{evidence.step}_", f"_{before.step}_"
    # Only of a run of the same prefix, whose checkpoints differ in the number alone.
    if before.checkpoint.replace(then, now) != evidence.name:
        return
    for file in before.files:
        name = file.name.replace(then, now)
        if name not in evidence.listing:
            yield COMPANION_LOST.finding(f"missing: {name}", file=name)
        elif name != evidence.name and _is_same(name, file.name, evidence):
            yield COMPANION_LOST.finding(
                f"{name} is byte for byte that of {before.checkpoint}", file=name
            )


def _is_same(name: str, earlier: str, evidence: Evidence) -> bool:
    """Return whether a file is the one of the checkpoint before, and should not be."""
    scan = evidence.scans.get(name)
    if scan is None or evidence.previous is None:
        return False
    state = getattr(evidence.value(name), "state", None)
    if isinstance(state, dict) and state.get("training") is False:
        # Statistics that are only applied stay as they are.
        return False
    now = {(resource_name(earlier, r.begin, r.end, scan.size), r.digest) for r in scan.ranges}
    return now == {(r.name, r.digest) for r in evidence.previous.digests_of(earlier)}
