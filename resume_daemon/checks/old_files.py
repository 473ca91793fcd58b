"""Is all of the checkpoint new, or did a file of an earlier one stay or come back?"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from resume_daemon.checks import agreement
from resume_daemon.checks.stillness import nothing_to_learn
from resume_daemon.findings import Code, Finding, Severity
from resume_daemon.layouts.base import Role
from resume_daemon.manifest import file_of, resource_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resume_daemon.evidence import Evidence
    from resume_daemon.manifest import Manifest
    from resume_daemon.reading.results import FileScan

OLD_FILE = Code(
    "RD413",
    "old-file",
    Severity.ERROR,
    "A file is byte for byte that of an earlier checkpoint, while others moved on",
    "Every save writes the optimizer, the schedule and the trained weights anew. This file did not "
    "change, or is what it was two or more saves ago (of the last eight): it is a copy of an older "
    "one, or was never written.",
    "Resume from an earlier checkpoint.",
    "measured on transformers 5.23: optimizer.pt or scheduler.pt of another step, the trainer "
    "resumes",
)
_ENOUGH_VALUES: Final = 1_000
"""Fewer may come back to what they were, in a narrow type."""


def check(evidence: Evidence) -> Iterator[Finding]:
    """Yield a finding for each file that is one of an earlier checkpoint, where others are not."""
    before, state = evidence.previous, evidence.completeness
    if before is None or not evidence.scans or state.missing or state.stub is not None:
        return
    stateful = {name for name in evidence.scans if _values_of(name, evidence)}
    told = {f.file for f in agreement.check(evidence) if f.severity is Severity.ERROR}
    now = {name: _digests(name, scan) for name, scan in evidence.scans.items()}
    last = _digests_in(before)
    for manifest in (before, evidence.earlier, *evidence.older):
        if manifest is None or not _precedes(manifest, evidence):
            continue
        then = _digests_in(manifest)
        same = {name for name, digests in now.items() if digests == then.get(name)}
        # Weights that stand still with everything else are another finding's.
        if not stateful - same or nothing_to_learn(evidence, manifest.step):
            continue
        if manifest is before:
            old = {name for name in same if _has_to_move(name, evidence, before)}
        else:
            # It moved on since, and came back: what is frozen did not.
            old = {name for name in same if name in last and last[name] != then[name]}
            old = {name for name in old if _cannot_return(name, evidence)}
        for name in sorted(old - told):
            told.add(name)
            yield OLD_FILE.finding(f"{name} is that of {manifest.checkpoint}", file=name)


def _precedes(manifest: Manifest, evidence: Evidence) -> bool:
    return None in {manifest.step, evidence.step} or (manifest.step or 0) < (evidence.step or 0)


def _has_to_move(name: str, evidence: Evidence, before: Manifest) -> bool:
    """Return whether every save changes a file, as far as that is known."""
    role = evidence.parts[name].role
    if role is Role.SCHEDULER:
        return True
    if not _values_of(name, evidence):
        return False
    # A part of the model that is frozen is saved unchanged, and was so before.
    earlier = evidence.earlier
    moved = earlier is not None and before.digests_of(name) != earlier.digests_of(name)
    return role is Role.OPTIMIZER or moved


def _cannot_return(name: str, evidence: Evidence) -> bool:
    counted = evidence.parts[name].role is Role.SCHEDULER
    return counted or _values_of(name, evidence) >= _ENOUGH_VALUES


def _values_of(name: str, evidence: Evidence) -> int:
    """Return how many values of weights or of an optimizer a file holds."""
    if evidence.parts[name].role not in {Role.OPTIMIZER, Role.WEIGHTS, Role.STATE}:
        return 0
    return sum(math.prod(tensor.shape) for tensor in evidence.scans[name].tensors)


def _digests(name: str, scan: FileScan) -> list[tuple[str, str]]:
    return [(resource_name(name, r.begin, r.end, scan.size), r.digest) for r in scan.ranges]


def _digests_in(manifest: Manifest) -> dict[str, list[tuple[str, str]]]:
    found: dict[str, list[tuple[str, str]]] = {}
    for each in manifest.resources:
        found.setdefault(file_of(each.name), []).append((each.name, each.digest))
    return found
