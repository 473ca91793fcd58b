"""What the trainer's own log says of the curriculum, and whether a state agrees with it. Pure."""

from __future__ import annotations

import math
import re
from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from resume_daemon.curriculum.paths import find, parse_path
from resume_daemon.curriculum.summary import whole
from resume_daemon.findings import Code, Severity

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from resume_daemon.curriculum.schemas import Schema
    from resume_daemon.findings import Finding

NO_TRACES = Code(
    "RD518",
    "curriculum-not-logged",
    Severity.INFO,
    "The trainer's log says nothing of the curriculum",
    "No entry of log_history has a value of the curriculum, so that a lost stage cannot be read "
    "off the checkpoint itself; only the state file and its kept versions tell it.",
    "Let a callback log the stage (a key with 'curriculum' or 'stage' in its name).",
    "the guide's curriculum repair: traces of the curriculum in the trainer's log",
)
FOREIGN = Code(
    "RD519",
    "curriculum-of-another-run",
    Severity.WARNING,
    "The curriculum state was written by another run",
    "Its history has other values for the same steps than the trainer's log, so it belongs to "
    "another run, or to a stretch of this one that was given up by a resume from an earlier step. "
    "The stage and the averages are not those of these weights.",
    "Put back the version of the checkpoint ('resume-daemon curriculum --restore'), or make the "
    "state anew ('resume-daemon curriculum --create-fresh').",
    "two public GRPO runs of qhy991/GRPO-Clean-2: each entry's loss is the one logged at its step",
)

EVIDENCE = 3
"""Steps at which two values are compared before anything is said of them."""

_NEARLY = 0.9

_TRACE = re.compile(r"curriculum|(^|[/_.])stage([/_.]|$)", re.IGNORECASE)
_STAGE = re.compile(r"(^|[/_.])(current_)?stage(_?(idx|index|number))?$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Traces:
    """Keys of the trainer's log that are of the curriculum.

    Attributes:
        keys: Their names.
        stages: Step to the stage that was logged there.
    """

    keys: tuple[str, ...]
    stages: Mapping[int, int]

    def stage_at(self, step: int) -> tuple[int, int] | None:
        """Return the stage that was logged last at or before a step, and where; None: none was."""
        steps = [each for each in self.stages if each <= step]
        return (self.stages[max(steps)], max(steps)) if steps else None


def rows_of(trainer_state: Any) -> dict[int, dict[str, Any]]:
    """Return the entries of a decoded ``trainer_state.json`` by step, those of one step as one."""
    log = trainer_state.get("log_history") if isinstance(trainer_state, dict) else None
    rows: dict[int, dict[str, Any]] = {}
    for entry in log if isinstance(log, list) else []:
        if isinstance(entry, dict) and (step := whole(entry.get("step"))) is not None:
            # The first of several is the training's own, the others evaluations: none replaces it.
            rows[step] = {**entry, **rows.get(step, {})}
    return rows


def traces_of(rows: Mapping[int, Mapping[str, Any]]) -> Traces:
    """Return what the trainer's log has of the curriculum."""
    keys = sorted({key for row in rows.values() for key in row if _TRACE.search(str(key))})
    stages: dict[int, int] = {}
    for step, row in rows.items():
        for key in keys:
            if _STAGE.search(key) and (stage := whole(row.get(key))) is not None:
                stages[step] = stage
                break
    return Traces(tuple(keys), stages)


def not_logged(rows: Mapping[int, Mapping[str, Any]], traces: Traces) -> Finding | None:
    """Return whether a log that has entries says nothing of the curriculum."""
    if not rows or traces.keys:
        return None
    return NO_TRACES.finding(
        f"None of the {len(rows)} steps that the trainer logged has a value of the curriculum."
    )


def foreign(
    file: str, document: Any, schema: Schema | None, rows: Mapping[int, Mapping[str, Any]]
) -> Finding | None:
    """Return whether a state's history contradicts the trainer's log.

    Compared are values of the same name at the same step; most of them have to differ. Where none
    is the same they may be two measures of one name, unless the state has an entry for nearly
    every step that was logged, as one has that is filled from the log.

    Args:
        file: The state file.
        document: Its parsed content.
        schema: By which it was recognised.
        rows: The trainer's log by step, of the checkpoint that it should belong to.
    """
    same: list[int] = []
    other: list[int] = []
    entries = entries_of(document, schema)
    order = sorted(rows)
    for step, entry in entries:
        agree = _agrees(entry, rows.get(step, {}))
        if agree is False and (place := bisect_left(order, step)):
            # A callback at the end of a step finds the step before in the log as its newest entry.
            agree = bool(_agrees(entry, rows[order[place - 1]]))
        if agree is not None:
            (same if agree else other).append(step)
    if len(other) < EVIDENCE or len(other) <= len(same):
        return None
    steps = [step for step, _ in entries]
    logged = {step for step in rows if min(steps) <= step <= max(steps)}
    certain = bool(same) or len(logged & set(steps)) >= _NEARLY * len(logged)
    doubt = "" if certain else " They may also be two measures of one name."
    return FOREIGN.finding(
        f"{file}: {len(other)} of {len(other) + len(same)} entries have other values than the "
        f"trainer logged at their steps ({min(other)} to {max(other)}).{doubt}",
        file=file,
        severity=None if certain else Severity.INFO,
    )


def _agrees(entry: Mapping[str, Any], row: Mapping[str, Any]) -> bool | None:
    """Return whether all values of the same name are the same; None where there are none."""
    common = [
        (value, row[key])
        for key, value in entry.items()
        if isinstance(value, float) and isinstance(row.get(key), float)
    ]
    if not common:
        return None
    return all(a == b or (math.isnan(a) and math.isnan(b)) for a, b in common)


def entries_of(document: Any, schema: Schema | None) -> Sequence[tuple[int, Mapping[str, Any]]]:
    """Return the entries of a state's history that have a step, in their order."""
    if schema is None or schema.entry_step is None:
        return []
    histories = [v for v in schema.values(document, schema.history) if isinstance(v, list)]
    found = []
    for entry in histories[0] if histories else []:
        if not isinstance(entry, dict):
            continue
        steps = find(entry, parse_path(schema.entry_step))
        if steps and (step := whole(steps[0])) is not None:
            found.append((step, entry))
    return found
