"""A history is another run's only where no row that it may have noted has its values."""

from __future__ import annotations

from typing import Any

import pytest

from resume_daemon.curriculum.documents import parse_state
from resume_daemon.curriculum.schemas import known_schemas, recognise
from resume_daemon.curriculum.traces import foreign
from resume_daemon.files import canonical_json

FILE = "curriculum_state_detailed.json"
ROWS = {step: {"step": step, "loss": 1.0 / step, "reward": step / 100} for step in range(1, 21)}


def said(shift: int, change: float = 0.0) -> Any:
    """Return what is said of a history whose entries have the loss of ``shift`` steps before."""
    history = [
        {"step": step, "loss": ROWS.get(step - shift, {"loss": 0.0})["loss"] + change}
        for step in ROWS
    ]
    state = {"current_stage": 1, "performance_history": history, "timestamp": "t"}
    document = parse_state(FILE, canonical_json(state))
    schema = recognise(document, FILE, known_schemas())
    return foreign(FILE, document, schema, ROWS)


@pytest.mark.parametrize("shift", [0, 1])
def test_a_callback_may_note_the_step_or_the_one_that_was_logged_before_it(shift: int) -> None:
    assert said(shift) is None


@pytest.mark.parametrize(("shift", "change"), [(0, 0.25), (1, 0.25), (3, 0.0)])
def test_other_values_are_of_another_run(shift: int, change: float) -> None:
    assert said(shift, change).code == "RD519"
