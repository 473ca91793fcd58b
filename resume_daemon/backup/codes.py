"""What can be wrong with backups, as codes and as a condition."""

from __future__ import annotations

from resume_daemon.conditions import Condition
from resume_daemon.findings import Code, Severity

BACKUP_FAILED = Code(
    "RD890",
    "backup-failed",
    Severity.WARNING,
    "Backups cannot be made",
    "The destination is full, is not there, refuses the credentials, or gives back other bytes "
    "than it was given. Older backups stay: none is dropped before a newer one is whole and "
    "verified. It is tried again, and the condition ends with the first backup that succeeds.",
    "Read the reason. `resume-daemon backup RUN` makes one now, and shows the same error.",
)
BACKUP_DAMAGED = Code(
    "RD891",
    "backup-damaged",
    Severity.ERROR,
    "A backup is not what was backed up",
    "A file at the destination is missing, cut short, or has other bytes than those that were "
    "verified when the backup was made. `resume-daemon restore` refuses it.",
    "While the run has the checkpoint, `resume-daemon backup RUN --checkpoint NAME` reads the "
    "backup back and sends what is damaged again. Look at the destination's disk, and at who else "
    "writes there.",
)


def failed_condition(destination: str, checkpoint: str | None, reason: str) -> Condition:
    """Return the condition of backups that fail."""
    what = f"{checkpoint} cannot be backed up" if checkpoint else "Backups cannot be made"
    return Condition(
        key=BACKUP_FAILED.name,
        code=BACKUP_FAILED.id,
        severity=BACKUP_FAILED.severity,
        message=f"{what} to {destination}: {reason}",
        checkpoint=checkpoint,
    )
