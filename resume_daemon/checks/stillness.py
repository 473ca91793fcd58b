"""Weights that did not move since the checkpoint before: all of them, or a layer."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TYPE_CHECKING, Final

from resume_daemon.checks.moves import is_before, moved_in, rounding_of
from resume_daemon.checks.names import kind_of, some
from resume_daemon.findings import Code, Finding, Severity
from resume_daemon.layouts.base import Role
from resume_daemon.manifest import resource_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resume_daemon.checks.moves import Moved
    from resume_daemon.evidence import Evidence
    from resume_daemon.manifest import Manifest

UNCHANGED_WEIGHTS = Code(
    "RD216",
    "weights-unchanged",
    Severity.WARNING,
    "The weights are byte for byte those of the checkpoint before",
    "Steps passed, and nothing was learned, or an older file was saved again under a new name.",
    "Look at gradient norm and learning rate; if both were above zero, the save is wrong.",
)
STOPPED_MOVING = Code(
    "RD219",
    "stopped-moving",
    Severity.WARNING,
    "A layer has stopped moving while others move on",
    "A matrix is byte for byte that of the checkpoint before, and was not then; the same one of "
    "other layers still moves. It no longer gets gradients, or an older copy of it was saved.",
    "If you froze it on purpose, go on. Otherwise resume from an earlier checkpoint.",
    "measured: benchmarks/thresholds.py, docs/thresholds.md",
)
_FEWEST_VALUES: Final = 4_096
"""A smaller tensor may stand still by chance where the type rounds small steps away."""


def check(evidence: Evidence) -> Iterator[Finding]:
    """Yield a finding for each part that stands still and should not."""
    yield from _unchanged(evidence)
    previous, earlier = evidence.previous, evidence.earlier
    if previous is None or not is_before(previous, evidence):
        return
    if earlier is None or not is_before(earlier, previous):
        return
    yield from _still(list(moved_in(evidence, previous, earlier)), previous)


def _unchanged(evidence: Evidence) -> Iterator[Finding]:
    before = evidence.previous
    files = evidence.files(Role.WEIGHTS)
    if before is None or not files or any(name not in evidence.scans for name in files):
        return
    if before.step is None or evidence.step is None or before.step >= evidence.step:
        return
    now = {
        (resource_name(name, r.begin, r.end, scan.size), r.digest)
        for name in files
        for scan in (evidence.scans[name],)
        for r in scan.ranges
    }
    then = {(r.name, r.digest) for name in files for r in before.digests_of(name)}
    if now != then:
        return
    idle = nothing_to_learn(evidence, before.step)
    yield UNCHANGED_WEIGHTS.finding(
        f"the weights are those of {before.checkpoint}, byte for byte"
        + (f" ({idle})" if idle else ""),
        file=files[0],
        severity=Severity.INFO if idle else None,
    )


def nothing_to_learn(evidence: Evidence, since: int | None) -> str | None:
    """Return why weights did not move, where the trainer's own log explains it."""
    state = evidence.document(Role.TRAINER_STATE)
    log = state.get("log_history") if isinstance(state, dict) else None
    since = -1 if since is None else since
    entries = [
        e
        for e in (log if isinstance(log, list) else ())
        if isinstance(e, dict) and isinstance(e.get("step"), int) and e["step"] > since
    ]
    trained = [e for e in entries if "grad_norm" in e or "learning_rate" in e]
    if trained and all(e.get("grad_norm") == 0 or e.get("learning_rate") == 0 for e in trained):
        return "gradient or learning rate were zero"
    return None


def _still(moved: list[Moved], previous: Manifest) -> Iterator[Finding]:
    """Find matrices that do not move any more, while the same one of other layers does.

    A file of which nothing moved is another check's.
    """
    files = {each.file for each in moved if not each.is_still}
    active: dict[str, float] = defaultdict(float)
    for each in moved:
        kind = kind_of(each.now.name)
        active[kind] = max(active[kind], each.move.change or 0.0)
    went = [m for m in moved if m.is_matrix and m.move.before and m.file in files]
    found: dict[str, list[str]] = defaultdict(list)
    for each in went:
        before = each.move.before or 0.0
        if not each.is_still or math.prod(each.now.shape) < _FEWEST_VALUES:
            continue
        # An expert that no token reaches stands still; so does an adapter that is not in use.
        if any(word in each.now.name for word in ("expert", "lora_")) or before < rounding_of(
            each.now.dtype
        ):
            continue
        if active[kind_of(each.now.name)] >= before / 2:
            found[each.file].append(each.now.name)
    if 2 * sum(map(len, found.values())) > len(went):
        return
    for file, names in found.items():
        yield STOPPED_MOVING.finding(
            f"{file}: {some(names, 'is', 'are')} as in {previous.checkpoint}, byte for byte; the "
            "same weight of other layers has moved",
            file=file,
        )
