"""The tracker's step and the trainer's step, seen at the same moment."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StepPair:
    """One row of a tracker's log in which both steps are known and the trainer's is new.

    Attributes:
        tracker: ``wandb``, ...
        run_id: The tracker's id of the run.
        segment: The directory name of one process's log; a resume with the same id is a new one.
        tracker_step: The tracker's own step *as logged in this segment* (W&B ``_step``).
        trainer_step: The trainer's global step.
        offset: Bytes of the segment's log up to and including this row.
    """

    tracker: str
    run_id: str
    segment: str
    tracker_step: int
    trainer_step: int
    offset: int
