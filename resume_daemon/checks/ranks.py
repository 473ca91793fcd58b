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
    "Every rank saves the same parameters in its own shard, and its optimizer and schedule have "
    "made as many steps as the others'. Here one does not: its file is from another save, or of "
    "another model.",
    "Resume from an earlier checkpoint.",
    "verl utils/checkpoint/fsdp_checkpoint_manager.py and DeepSpeed runtime/engine.py load each "
    "rank's file for itself and compare nothing",
)

_JUDGED = {Role.WEIGHTS, Role.OPTIMIZER, Role.STATE}
_FEWEST = 2
_LARGEST = 2**53
"""Whole numbers above it are no counters, and may be too long to be printed."""


def check(evidence: Evidence) -> Iterator[Finding]:
    """Yield a finding for each rank's file that differs from those of most ranks."""
    for (_, role, _), files in rank_sets(evidence.parts).items():
        readable = [name for name in files.values() if name in evidence.contents]
        if role not in _JUDGED or len(readable) < _FEWEST:
            continue
        names = {name: frozenset(evidence.contents[name].shapes) for name in readable}
        for name in _strange(names):
            yield RANKS_DISAGREE.finding(
                f"{name} holds other tensors than the same file of other ranks", file=name
            )
        steps = {
            name: max(found)
            for name in readable
            if (found := evidence.optimizer_steps.get(name)) is not None
        }
        schedules = {n: at for n in readable if (at := _schedule_step(evidence, n)) is not None}
        for name in _odd(schedules):
            yield RANKS_DISAGREE.finding(
                f"{name}: its learning rate schedule is at step {schedules[name]}, that of other "
                "ranks is not",
                file=name,
            )
        for name in _odd(steps):
            yield RANKS_DISAGREE.finding(
                f"{name}: its optimizer has counted {steps[name]:.0f} steps, that of other ranks "
                "has not",
                file=name,
            )


def _schedule_step(evidence: Evidence, name: str) -> int | None:
    """Return where a schedule stands that lies in a file beside other things."""
    value = evidence.value(name)
    schedule = value.get("lr_scheduler") if isinstance(value, dict) else None
    step = schedule.get("last_epoch") if isinstance(schedule, dict) else None
    return step if type(step) is int and abs(step) < _LARGEST else None


def _strange(names: Mapping[str, frozenset[str]]) -> Iterator[str]:
    """Yield the files that hold tensors that most do not, and lack some that most hold.

    Fewer alone is no difference: of a parameter with fewer rows than there are ranks, such as a
    value head, some ranks have no piece (measured: FSDP without a device mesh, torch 2.13).
    """
    usual = Counter(names.values()).most_common(1)[0][0]
    yield from (n for n, held in names.items() if not (held <= usual or held >= usual))


def _odd(values: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names whose value is not that of most; all but the first where none is."""
    if len(set(values.values())) > 1:
        usual = Counter(values.values()).most_common(1)[0][0]
        yield from (name for name, value in values.items() if value != usual)
