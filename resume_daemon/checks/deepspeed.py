"""DeepSpeed's own files: do they hold what the engine reads from them, of one moment?"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from resume_daemon.checks.steps import RECORDED_STEP
from resume_daemon.findings import Code, Finding, Severity
from resume_daemon.layouts.deepspeed import steps_in
from resume_daemon.layouts.deepspeed_missing import EXPERT_OPTIMIZER, MODEL, OPTIMIZER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resume_daemon.evidence import Evidence

ENGINE_STATE = Code(
    "RD130",
    "engine-state",
    Severity.ERROR,
    "A file of DeepSpeed does not hold what the engine reads from it",
    "The engine takes the module, its counters and the optimizer from tables of fixed names, and "
    "raises where one is not there. Where every file holds nothing but an empty text, Nebula keeps "
    "the state in a storage of its own: what is here cannot be verified, and is doubtful.",
    "Resume from an earlier checkpoint; with Nebula, look into its storage.",
    "deepspeed 0.19 runtime/engine.py: _load_checkpoint, _get_all_zero_checkpoint_state_dicts; "
    "deepspeed 0.10 nebula_checkpoint_engine.py: save",
)

_NEEDED: Final = (
    (MODEL, ("module", "global_steps", "skipped_steps", "dp_world_size", "mp_world_size")),
    (OPTIMIZER, ("optimizer_state_dict",)),
    (EXPERT_OPTIMIZER, ("optimizer",)),
)
_TAG = re.compile(r"global_step(\d{1,18})/", re.ASCII)


def check(evidence: Evidence) -> Iterator[Finding]:
    """Yield a finding for each file of the engine that it could not use, or that is older."""
    files = {name: keys for name in sorted(evidence.contents) if (keys := _needed(name))}
    empty = [name for name in files if evidence.value(name) == ""]
    if files and len(empty) == len(files):
        yield ENGINE_STATE.finding(
            f"{len(empty)} files such as {empty[0]} hold nothing: Nebula keeps the state elsewhere",
            severity=Severity.WARNING,
        )
        return
    for name, keys in files.items():
        value = evidence.value(name)
        lacks = [key for key in keys if not isinstance(value, dict) or key not in value]
        if lacks:
            yield ENGINE_STATE.finding(f"{name} lacks {', '.join(lacks)}", file=name)
    yield from _older(evidence)


def _needed(name: str) -> tuple[str, ...]:
    base = name.rpartition("/")[2]
    return next((keys for pattern, keys in _NEEDED if pattern.fullmatch(base)), ())


def _older(evidence: Evidence) -> Iterator[Finding]:
    """Find model states that record fewer steps than their optimizer and their tag say.

    One of the two alone proves nothing: trainers give tags of their own and start optimizers anew.
    """
    told = {name for name, _ in evidence.recorded_steps}
    for name, recorded in steps_in("", evidence.contents):
        folder = name[: name.rfind("/") + 1]
        steps = [
            max(found)
            for file, found in evidence.optimizer_steps.items()
            if _needed(file) and file.startswith(folder)
        ]
        match = _TAG.fullmatch(folder)
        tag = int(match[1]) if match else evidence.step
        if name not in told and tag is not None and recorded < max(steps, default=0) <= tag:
            yield RECORDED_STEP.finding(
                f"{name} is of step {recorded}, its optimizer has counted {max(steps):.0f}",
                file=name,
            )
