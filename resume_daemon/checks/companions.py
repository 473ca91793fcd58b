"""Files beside a checkpoint that is a file: is what the checkpoint before had there again?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from resume_daemon.findings import Code, Finding, Severity
from resume_daemon.layouts.base import Role
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
    "none, or the very same replay buffer. The trainer resumes without what it was to save: with "
    "an empty buffer, with one of another step, or with unscaled observations.",
    "Resume from a checkpoint that has it, unless you removed it to save space.",
    "stable-baselines3 2.9 common/callbacks.py: CheckpointCallback",
)


def check(evidence: Evidence) -> Iterator[Finding]:
    """Yield a finding for each companion that the checkpoint before had, and this one has not."""
    before = evidence.previous
    if before is None or evidence.listing.file is None:
        return
    for file in before.files:
        # Only a run of the same prefix, whose checkpoints differ in the number alone.
        name = file.name.replace(f"_{before.step}_", f"_{evidence.step}_")
        if before.checkpoint.replace(f"_{before.step}_", f"_{evidence.step}_") != evidence.name:
            return
        if name not in evidence.listing:
            yield COMPANION_LOST.finding(f"missing: {name}", file=name)
            continue
        scan = evidence.scans.get(name)
        if (
            scan is None
            or evidence.parts[name].role is not Role.DATA
            or before.step == evidence.step
        ):
            continue
        now = {(resource_name(file.name, r.begin, r.end, scan.size), r.digest) for r in scan.ranges}
        if now == {(r.name, r.digest) for r in before.digests_of(file.name)}:
            yield COMPANION_LOST.finding(
                f"{name} is byte for byte that of {before.checkpoint}", file=name
            )
