"""What is wrong with the curriculum of a run, said of values alone. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resume_daemon.conditions import Condition
from resume_daemon.curriculum.codes import (
    AHEAD,
    AHEAD_AT_RESUME,
    BEHIND,
    HISTORY_DAMAGED,
    LAG,
    NOT_COMPARABLE,
    STAGE_BACK,
    UNREADABLE,
)
from resume_daemon.curriculum.history import history_lost
from resume_daemon.curriculum.notes import Noted, noted_state
from resume_daemon.curriculum.state import Missing, StateVersion
from resume_daemon.findings import Severity

if TYPE_CHECKING:
    from resume_daemon.curriculum.assignment import Assignment
    from resume_daemon.curriculum.state import StateRead
    from resume_daemon.findings import Code

__all__ = [
    "Noted",
    "ahead_at_resume",
    "assignment_notes",
    "history_damaged",
    "history_lost",
    "stage_back",
    "unreadable",
]

AHEAD_LIMIT = 0
"""Steps that a state may be ahead of its checkpoint."""

BEHIND_LIMIT = 100
"""Steps that it may be behind: what the field guide says between two saves of the state."""

UNREADABLE_SECONDS = 60.0
"""How long a state may stay unreadable: no write of one takes as long."""


def assignment_notes(
    assignment: Assignment,
    checkpoint: str,
    *,
    ahead_limit: int = AHEAD_LIMIT,
    behind_limit: int = BEHIND_LIMIT,
    save_every: int | None = None,
) -> Noted | None:
    """Return how far the state that belongs to a checkpoint is from it; None: both are of one step.

    Beyond a limit it is a warning and a condition, within it is said as info. Alert on the
    condition of the newest checkpoint only: nothing can be done about the others.

    Args:
        assignment: The state's.
        checkpoint: Directory name of the checkpoint.
        ahead_limit: Steps that it may be ahead.
        behind_limit: Steps that it may be behind, and never fewer than ``save_every``.
        save_every: Steps between two writes of the state, where the schema knows.
    """
    file, offset = assignment.file, assignment.offset
    text = f"{file}: {assignment.sentence}."
    if offset is None:
        return Noted(NOT_COMPARABLE.finding(text, file=file))
    if offset > ahead_limit:
        return _noted(AHEAD, text, assignment, checkpoint, "curriculum-ahead")
    if -offset > max(behind_limit, save_every or 0):
        return _noted(BEHIND, text, assignment, checkpoint, "curriculum-behind")
    if offset > 0:
        return Noted(AHEAD.finding(text, file=file, severity=Severity.INFO))
    if offset == 0:
        return None
    steps = "1 step" if offset == -1 else f"{-offset} steps"
    return Noted(LAG.finding(f"{file} lags by {steps}: {assignment.sentence}.", file=file))


def ahead_at_resume(version: StateVersion, resumed_step: int) -> Noted | None:
    """Return whether training resumed while the state on disk was of a later step.

    Args:
        version: The state on disk at the moment of the resume.
        resumed_step: The checkpoint's step that was resumed from.
    """
    step = version.trainer_step
    if step is None or step <= resumed_step:
        return None
    message = (
        f"{version.file}: the curriculum ran ahead: it will continue at step {step} with the "
        f"weights of step {resumed_step}."
    )
    condition = Condition(
        key=f"{AHEAD_AT_RESUME.name}:{version.file}",
        code=AHEAD_AT_RESUME.id,
        severity=AHEAD_AT_RESUME.severity,
        message=message,
        trainer_step=resumed_step,
        drift=step - resumed_step,
    )
    return Noted(AHEAD_AT_RESUME.finding(message, file=version.file), condition)


def stage_back(before: StateVersion, after: StateVersion) -> Noted | None:
    """Return whether the stage fell from one version to the next.

    A fall of more than one stage while the step went on is a warning: curricula demote by one.
    Stages with names have no order, so nothing is said of them.
    """
    if not (isinstance(before.stage, int) and isinstance(after.stage, int)):
        return None
    if after.stage >= before.stage:
        return None
    went_back = before.step is not None and after.step is not None and after.step < before.step
    severe = before.stage - after.stage > 1 and not went_back
    steps = f" (step {before.step} to {after.step})" if before.step is not None else ""
    message = f"{after.file}: the stage went from {before.stage} back to {after.stage}{steps}."
    severity = Severity.WARNING if severe else Severity.INFO
    return Noted(STAGE_BACK.finding(message, file=after.file, severity=severity))


def history_damaged(version: StateVersion) -> Noted | None:
    """Return whether the history is out of order or holds a number that is none.

    Steps that go back are told and not alerted on: they come from a resume that kept the later
    entries, and ``ahead_at_resume`` alerts on that.
    """
    history = version.history
    if history is None or (history.in_order and history.finite):
        return None
    wrong = [] if history.finite else ["holds NaN or infinity"]
    wrong += [] if history.in_order else ["has steps that go back"]
    message = f"{version.file}: the history {' and '.join(wrong)}."
    if history.finite:
        return Noted(HISTORY_DAMAGED.finding(message, file=version.file))
    return noted_state(HISTORY_DAMAGED, message, version.file)


def unreadable(
    read: StateRead, seconds: float, *, limit: float = UNREADABLE_SECONDS
) -> Noted | None:
    """Return whether a state has been unreadable for longer than a write takes.

    Args:
        read: The last reading; a missing file is not unreadable.
        seconds: How long every reading has failed.
        limit: From how many seconds on that is said.
    """
    if isinstance(read, (StateVersion, Missing)) or seconds < limit:
        return None
    why = getattr(read, "how", "") or getattr(read, "reason", "")
    message = f"{read.file}: unreadable for {seconds:.0f} s: {why}."
    return noted_state(UNREADABLE, message, read.file)


def _noted(code: Code, message: str, assignment: Assignment, checkpoint: str, name: str) -> Noted:
    condition = Condition(
        key=f"{name}:{assignment.file}",
        code=code.id,
        severity=code.severity,
        message=message,
        checkpoint=checkpoint,
        drift=assignment.offset,
    )
    return Noted(code.finding(message, file=assignment.file), condition)
