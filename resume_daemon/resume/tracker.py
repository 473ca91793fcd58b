"""What can be done about the tracker's history at a resume, with what follows from each. Pure.

Measured with wandb 0.22 to 0.31 (a trainer that crashes at step 150 and resumes from step 100):
``WANDB_RESUME=must`` continues after the last row, so steps 101 to 149 are there twice; a trainer
that passes its own step loses those rows instead, in silence. ``WANDB_RESUME_FROM=id?_step=N``
(rewind) cuts the history after row N and continues there; ``WANDB_FORK_FROM`` does the same in a
new run. Both exclude ``WANDB_RUN_ID`` with another id and ``WANDB_RESUME`` (wandb ``Settings``),
and are not offered by every server (docs of W&B, "rewind": not on self-managed ones).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

VARIABLES = (
    "WANDB_RUN_ID",
    "WANDB_RESUME",
    "WANDB_RESUME_FROM",
    "WANDB_FORK_FROM",
    "WANDB_RUN_NAME",
)
"""Variables that say which run W&B writes to; one that is left over from an earlier start sends
the rows of this one elsewhere."""


@dataclass(frozen=True, slots=True)
class TrackerPoint:
    """Where the tracker's history stood at a checkpoint.

    Attributes:
        tracker: ``wandb``, ...
        run_id: The tracker's id of the run.
        tracker_step: The tracker's step of the row that belongs to the checkpoint, counted over
            the whole run; None where it was not recorded.
        trainer_step: The trainer's step of that row.
        last_trainer_step: The trainer's step that was logged last.
        explicit: Whether the trainer passes its own step; None where that is not known.
        predicted: The step rests on rows that were not synced yet.
    """

    tracker: str
    run_id: str
    tracker_step: int | None = None
    trainer_step: int | None = None
    last_trainer_step: int | None = None
    explicit: bool | None = None
    predicted: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return the shape that ``plan --json`` promises."""
        return {
            "tracker": self.tracker,
            "run_id": self.run_id,
            "tracker_step": self.tracker_step,
            "trainer_step": self.trainer_step,
            "last_trainer_step": self.last_trainer_step,
            "predicted": self.predicted,
        }


@dataclass(frozen=True, slots=True)
class TrackerChoice:
    """One way to go on, and what it leads to.

    Attributes:
        name: ``must``, ``rewind``, ``fork`` or ``new``.
        variables: What to set; all other ``VARIABLES`` are to be unset.
        consequence: What will be seen, in a sentence.
    """

    name: str
    consequence: str
    variables: Mapping[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return the shape that ``plan --json`` promises."""
        return {
            "name": self.name,
            "set": dict(self.variables),
            "unset": [name for name in VARIABLES if name not in self.variables],
            "consequence": self.consequence,
        }


def choices(point: TrackerPoint | None, step: int | None) -> tuple[TrackerChoice, ...]:
    """Return what can be done, what works on every server first.

    Args:
        point: Where the history stood at the checkpoint; None where no tracker is known.
        step: The checkpoint's step.
    """
    if point is None:
        return ()
    found = [
        TrackerChoice(
            "must",
            _must(point, step),
            {"WANDB_RUN_ID": point.run_id, "WANDB_RESUME": "must"},
        )
    ]
    if point.tracker_step is not None:
        place = f"{point.run_id}?_step={point.tracker_step}"
        found += [
            TrackerChoice(
                "rewind",
                f"clean: rows after step {point.tracker_step} are cut off and logged again. Only "
                "where the server offers it, and the run has ended there.",
                {"WANDB_RESUME_FROM": place},
            ),
            TrackerChoice(
                "fork",
                f"clean: a new run that shares the rows up to step {point.tracker_step}. Only "
                "where the server offers it.",
                {"WANDB_FORK_FROM": place},
            ),
        ]
    found.append(TrackerChoice("new", "the curve goes on in a second run."))
    return tuple(found)


def _must(point: TrackerPoint, step: int | None) -> str:
    last = point.last_trainer_step
    if step is None or last is None:
        return "the run goes on; which steps it will show twice is not known."
    if last <= step:
        return "clean: nothing was logged beyond the checkpoint."
    again = f"step {last}" if last == step + 1 else f"steps {step + 1} to {last}"
    if point.explicit:
        return f"the rows of {again} stay as they are: W&B drops those that are trained again."
    if point.explicit is None:
        return f"the curve will show {again} twice, or drop the second ones."
    return f"the curve will show {again} twice."
