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
    yield from _old(evidence, before)
    yield from _returned(evidence, before)


def _old(evidence: Evidence, before: Manifest) -> Iterator[Finding]:
    if before.step is not None and evidence.step is not None and before.step >= evidence.step:
        return
    same = {name for name in evidence.scans if _is_same(name, evidence, before)}
    stateful = {
        name
        for name in evidence.scans
        if evidence.parts[name].role in {Role.OPTIMIZER, Role.WEIGHTS, Role.STATE}
        and evidence.scans[name].tensors
    }
    # Weights that stand still with everything else are another finding's.
    if not stateful - same or nothing_to_learn(evidence, before.step):
        return
    told = {f.file for f in agreement.check(evidence) if f.severity is Severity.ERROR}
    for name in sorted(same - told):
        role = evidence.parts[name].role
        # A part of the model that is frozen is saved unchanged, and was so before.
        moved_before = evidence.earlier is not None and not _was_same(
            name, before, evidence.earlier
        )
        counts = role is Role.SCHEDULER or (role is Role.OPTIMIZER and name in stateful)
        if counts or (name in stateful and moved_before):
            yield OLD_FILE.finding(f"{name} is that of {before.checkpoint}", file=name)


def _returned(evidence: Evidence, before: Manifest) -> Iterator[Finding]:
    """Find files that moved on after an older checkpoint, and now are those of it again.

    What is frozen did not move on. Where all of the weights and the optimizer returned, the run
    was set back on purpose.
    """
    stateful = {
        name
        for name, scan in evidence.scans.items()
        if evidence.parts[name].role in {Role.OPTIMIZER, Role.WEIGHTS, Role.STATE}
        and sum(math.prod(tensor.shape) for tensor in scan.tensors) >= _ENOUGH_VALUES
    }
    now = {name: _digests(name, evidence.scans[name]) for name in stateful}
    then = _digests_in(before)
    moved = {name for name in stateful if name in then and then[name] != now[name]}
    told = {f.file for f in agreement.check(evidence) if f.severity is Severity.ERROR}
    for older in (evidence.earlier, *evidence.older):
        if older is None or older.step is None or (evidence.step or 0) <= older.step:
            continue
        known = _digests_in(older)
        same = {name for name in moved if known.get(name) == now[name]}
        if stateful - same:
            for name in sorted(same - told):
                yield OLD_FILE.finding(f"{name} is that of {older.checkpoint}", file=name)
        moved -= same


def _digests(name: str, scan: FileScan) -> list[tuple[str, str]]:
    return [(resource_name(name, r.begin, r.end, scan.size), r.digest) for r in scan.ranges]


def _digests_in(manifest: Manifest) -> dict[str, list[tuple[str, str]]]:
    found: dict[str, list[tuple[str, str]]] = {}
    for each in manifest.resources:
        found.setdefault(file_of(each.name), []).append((each.name, each.digest))
    return found


def _is_same(name: str, evidence: Evidence, before: Manifest) -> bool:
    now = _digests(name, evidence.scans[name])
    return now == [(r.name, r.digest) for r in before.digests_of(name)]


def _was_same(name: str, before: Manifest, earlier: Manifest) -> bool:
    return before.digests_of(name) == earlier.digests_of(name)
