from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resume_daemon.formats.json_document import read_json
from resume_daemon.trainer_log import TrainerLog, trainer_log_of
from tests.checkpoints import trainer_state_at


def log_at(*steps: Any) -> TrainerLog | None:
    return trainer_log_of({"log_history": [{"step": step, "loss": 1.0} for step in steps]})


@pytest.mark.parametrize(
    ("steps", "extent"),
    [
        (range(1, 11), (1, 10, 1)),
        (range(10, 101, 10), (10, 100, 10)),
        ([1, *range(10, 101, 10)], (1, 100, 10)),  # logging_first_step
        ([10, 20, 25, 30, 40, 50, 50], (10, 50, 10)),  # evaluations between, and at the end
        ([*range(2, 60, 2), 59], (2, 59, 2)),
        ([7], (7, 7, 1)),
        ([5, 5, 5], (5, 5, 1)),
        ([0, 10, 20], (10, 20, 10)),  # an evaluation before the first step
        ([10, 20, 5, 15], (5, 20, 10)),  # a log that goes back
    ],
)
def test_the_extent_and_the_cadence_of_a_log_are_found(
    steps: Any, extent: tuple[int, int, int]
) -> None:
    assert log_at(*steps) == TrainerLog(*extent)


@pytest.mark.parametrize(
    "state",
    [None, [], "text", {}, {"log_history": None}, {"log_history": []}, {"log_history": [5, {}]}],
)
def test_a_state_without_a_log_has_no_extent(state: Any) -> None:
    assert trainer_log_of(state) is None


@pytest.mark.parametrize("step", [None, "10", 10.0, True, -3, 0, 10**400, [1]])
def test_what_is_no_step_is_left_out(step: Any) -> None:
    assert log_at(step) is None
    assert log_at(2, step, 4) == TrainerLog(2, 4, 2)


@given(st.lists(st.integers(), max_size=40) | st.lists(st.just(10**400) | st.none(), max_size=4))
def test_any_log_has_an_extent_that_holds_its_steps(steps: list[int]) -> None:
    log = log_at(*steps)
    if log is not None:
        assert log.first_step <= log.last_step
        assert {log.first_step, log.last_step} <= set(steps)
        gaps = [b - a for a, b in pairwise(s for s in steps if 0 < s < 2**53) if b > a]
        assert min(gaps, default=1) <= log.cadence <= max(gaps, default=1)


def test_a_trainer_s_own_state_is_understood() -> None:
    assert trainer_log_of(trainer_state_at(25)) == TrainerLog(1, 25, 1)


def test_the_real_runs_log_every_second_step(shared_runs: Any) -> None:
    logs = [
        trainer_log_of(read_json(path))
        for path in shared_runs.glob("*/checkpoint-*/trainer_state.json")
    ]

    assert {log.cadence for log in logs if log} == {2}
    assert {log.last_step for log in logs if log} == {*range(270, 311, 10), *range(560, 601, 10)}
