"""Files that every rank writes: do they hold the same, and were they written at the same moment?"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from resume_daemon.findings import Code, Finding, Severity
from resume_daemon.layouts.base import Role
from resume_daemon.layouts.ranks import rank_sets

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from resume_daemon.evidence import Evidence

RANKS_DISAGREE = Code(
    "RD411",
    "ranks-disagree",
    Severity.ERROR,
    "One rank's file does not go with those of the others",
    "Every rank saves the same parameters in its own shard, and its optimizer has made as many "
    "steps as the others'. Here one does not: its file is from another save, or of another model.",
    "Resume from an earlier checkpoint.",
    "verl utils/checkpoint/fsdp_checkpoint_manager.py and DeepSpeed runtime/engine.py load each "
    "rank's file for itself and compare nothing",
)

_JUDGED = {Role.WEIGHTS, Role.OPTIMIZER, Role.STATE}
_FEWEST = 2


def check(evidence: Evidence) -> Iterator[Finding]:
    """Yield a finding for each rank's file that differs from those of most ranks."""
    for (_, role), files in rank_sets(evidence.parts).items():
        readable = [name for name in files.values() if name in evidence.contents]
        if role not in _JUDGED or len(readable) < _FEWEST:
            continue
        names = {name: frozenset(evidence.contents[name].shapes) for name in readable}
        for name in _odd(names):
            yield RANKS_DISAGREE.finding(
                f"{name} holds other tensors than the same file of other ranks", file=name
            )
        steps = {
            name: max(found)
            for name in readable
            if (found := evidence.optimizer_steps.get(name)) is not None
        }
        for name in _odd(steps):
            yield RANKS_DISAGREE.finding(
                f"{name}: its optimizer has counted {steps[name]:.0f} steps, that of other ranks "
                "has not",
                file=name,
            )


def _odd(values: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names whose value is not that of most; all but the first where none is."""
    if len(set(values.values())) > 1:
        usual = Counter(values.values()).most_common(1)[0][0]
        yield from (name for name, value in values.items() if value != usual)
