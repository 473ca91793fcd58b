"""What is wrong right now, as values; ``alerting`` turns changes of it into alerts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from resume_daemon.findings import Severity


@dataclass(frozen=True, slots=True)
class Condition:
    """Something that holds now, and should not.

    Attributes:
        key: Stable identity, such as ``wandb-drift:<run id>:<segment>``: the same key is the same
            condition, however its message changes.
        code: The catalog code that explains it.
        severity: How grave it is.
        message: One or two sentences for a tired person, with the numbers and what they mean.
        checkpoint: Directory name of the checkpoint it is about, or None.
        tracker_step: The tracker's step, where one is known.
        trainer_step: The trainer's step, where one is known.
        offset: Raw difference of the two; informational only.
        drift: Matched drift (or, for the curriculum, its step minus the checkpoint's), or None.
    """

    key: str
    code: str
    severity: Severity
    message: str
    checkpoint: str | None = None
    tracker_step: int | None = None
    trainer_step: int | None = None
    offset: int | None = None
    drift: int | None = None
