"""What can be wrong with the run or the daemon itself, as conditions."""

from __future__ import annotations

from resume_daemon.conditions import Condition
from resume_daemon.findings import Code, Severity

CHECKPOINT_UNSOUND = Code(
    "RD701",
    "checkpoint-unsound",
    Severity.ERROR,
    "A checkpoint must not be resumed from",
    "At least one finding about it is an error. The findings' own codes say what is wrong.",
    "Run `resume-daemon verify` on it; resume from the newest sound one.",
)
CHECKPOINT_DEGRADED = Code(
    "RD702",
    "checkpoint-degraded",
    Severity.WARNING,
    "A checkpoint resumes, but something is lost or doubtful",
    "No finding about it is an error, at least one is a warning.",
    "Run `resume-daemon verify` on it to see what would be lost.",
)
CHECKPOINT_INCOMPLETE = Code(
    "RD703",
    "checkpoint-incomplete",
    Severity.ERROR,
    "A checkpoint was never finished",
    "Its required files are not all there, and nothing has been written to it for a long time: the "
    "save was cut off. A trainer that resumes from the newest directory would take this one.",
    "Resume from an earlier checkpoint by name, or move this directory away.",
    "transformers trainer_utils.py: get_last_checkpoint looks at names alone",
)
CHECKPOINT_UNREADABLE = Code(
    "RD704",
    "checkpoint-unreadable",
    Severity.ERROR,
    "A checkpoint could not be read",
    "The disk or the permissions stopped the verification, so there is no verdict. It is tried "
    "again.",
    "Give the daemon's user read permission, or look at the disk.",
)
RUN_UNREADABLE = Code(
    "RD705",
    "run-unreadable",
    Severity.ERROR,
    "The run directory is gone or cannot be read",
    "It was moved or removed, its file system went away, or the permissions changed. Nothing can "
    "be watched until it is back.",
    "Put it back, or start the daemon on its new place.",
)
STORAGE_BLOCKED = Code(
    "RD706",
    "storage-blocked",
    Severity.ERROR,
    "The daemon cannot write its own records",
    "The disk is full, or the state directory became read-only. Nothing is recorded until that "
    "ends; the trainer's next save will likely fail as well.",
    "Free space on the file system that is named.",
)
TORN_LEDGER = Code(
    "RD707",
    "torn-ledger",
    Severity.INFO,
    "The end of the ledger was torn and set aside",
    "The machine or the daemon went down while a record was written. It was copied beside the "
    "ledger and cut off; the work that it stood for is done again.",
    "Nothing to do.",
)


def checkpoint_condition(name: str, verdict: str, why: str, step: int | None) -> Condition | None:
    """Return the condition that a verdict is, or None where nothing is wrong.

    Args:
        name: Directory name of the checkpoint.
        verdict: The verdict.
        why: The message of its gravest finding.
        step: The checkpoint's step.
    """
    code = {
        "unsound": CHECKPOINT_UNSOUND,
        "degraded": CHECKPOINT_DEGRADED,
        "incomplete": CHECKPOINT_INCOMPLETE,
    }.get(verdict)
    if code is None:
        return None
    return Condition(
        key=f"{code.name}:{name}",
        code=code.id,
        severity=code.severity,
        message=f"{name} is {verdict}: {why or code.title}. {code.action}",
        checkpoint=name,
        trainer_step=step,
    )


def unreadable_condition(name: str, reason: str) -> Condition:
    """Return the condition of a checkpoint that cannot be verified."""
    return Condition(
        key=f"{CHECKPOINT_UNREADABLE.name}:{name}",
        code=CHECKPOINT_UNREADABLE.id,
        severity=CHECKPOINT_UNREADABLE.severity,
        message=f"{name} could not be verified: {reason}",
        checkpoint=name,
    )


def run_condition(reason: str) -> Condition:
    """Return the condition of a run directory that is gone."""
    return Condition(
        key=RUN_UNREADABLE.name,
        code=RUN_UNREADABLE.id,
        severity=RUN_UNREADABLE.severity,
        message=reason,
    )


def storage_condition(reason: str) -> Condition:
    """Return the condition of a state directory that cannot be written."""
    return Condition(
        key=STORAGE_BLOCKED.name,
        code=STORAGE_BLOCKED.id,
        severity=STORAGE_BLOCKED.severity,
        message=reason,
    )
