"""The demo's curriculum: looks further back once it guesses well enough; one file per run.

The file and its shape are those of qhy991/GRPO-Clean-2 (``curriculum/callbacks.py:
_save_curriculum_state``): rewritten in place, whichever checkpoint the trainer resumes from.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from pathlib import Path

FILE: Final = "curriculum_state_detailed.json"
WINDOW: Final = 100
"""Entries of the history that are kept."""

THRESHOLDS: Final = (0.2, 0.25)
"""Share of right guesses, averaged over ``_EVALUATIONS`` steps, that ends each stage."""

_EVALUATIONS: Final = 3


@dataclass(slots=True)
class Curriculum:
    """Stage and history; ``performance`` of an entry is a share from 0 to 1."""

    stage: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)

    def record(self, step: int, performance: float, loss: float) -> None:
        """Take one step's outcome in, and advance when the stage is mastered."""
        self.history.append(
            {"step": step, "performance": performance, "loss": loss, "stage": self.stage}
        )
        del self.history[:-WINDOW]
        latest = [e["performance"] for e in self.history if e["stage"] == self.stage]
        latest = latest[-_EVALUATIONS:]
        if (
            self.stage < len(THRESHOLDS)
            and len(latest) == _EVALUATIONS
            and sum(latest) / _EVALUATIONS >= THRESHOLDS[self.stage]
        ):
            self.stage += 1

    def save(self, run: Path) -> None:
        """Rewrite the file in place, as callbacks do: a crash here leaves it empty."""
        # Naive local time, as in the files of real runs.
        now = datetime.now().isoformat()  # noqa: DTZ005 - see above
        state = {
            "current_stage": self.stage,
            "performance_history": self.history,
            "timestamp": now,
        }
        with (run / FILE).open("w", encoding="utf-8") as file:
            json.dump(state, file, indent=2)


def load_curriculum(run: Path) -> Curriculum:
    """Return what the file holds, or a fresh curriculum where there is none."""
    try:
        state = json.loads((run / FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Curriculum()
    return Curriculum(state["current_stage"], state["performance_history"])
