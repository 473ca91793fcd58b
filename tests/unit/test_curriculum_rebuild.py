"""A lost history put together again: what is added, what is left, and that nothing is made up."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from resume_daemon.curriculum.rebuild import THERE, KeptHistory, Rows, rebuild

STEPS = st.lists(st.integers(1, 300), unique=True, min_size=1, max_size=40).map(sorted)


def entry(step: int) -> tuple[int, dict[str, Any]]:
    return step, {"step": step, "performance": 1 - 1 / step, "loss": 1 / step}


def row(step: int) -> dict[str, Any]:
    return {"step": step, "loss": 1 / step, "reward": 1 - 1 / step, "zero": 0.0}


@given(STEPS, st.data())
def test_complete_versions_give_the_original(steps: list[int], data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(steps)))
    original = [entry(step) for step in steps]
    ends = data.draw(st.lists(st.integers(0, len(steps)), max_size=3))
    kept = [KeptHistory(str(end), tuple(original[:end])) for end in sorted([*ends, len(steps)])]
    made = rebuild(original[cut:], kept[::-1], [], until=300)
    assert list(made.entries) == original
    assert made.added == cut


@given(STEPS, STEPS, STEPS, st.integers(0, 300))
def test_steps_stay_in_order_and_single_and_what_is_there_stays(
    present: list[int], version: list[int], logged: list[int], until: int
) -> None:
    there = [entry(step) for step in present]
    kept = [KeptHistory("kept", tuple(entry(step) for step in version))]
    log = [Rows("the log", {step: row(step) for step in logged})]
    made = rebuild(there, kept, log, until=until)
    steps = [step for step, _ in made.entries]
    assert steps == sorted(set(steps))
    assert list(made.entries[made.added :]) == there
    assert all(step <= until for step in steps[: made.added])
    assert made.origins[made.added :] == (THERE,) * len(there)


def test_a_log_gives_what_equals_it_at_every_common_step_under_any_name() -> None:
    log = Rows("the log", {step: row(step) for step in range(1, 11)})
    made = rebuild([entry(step) for step in range(6, 11)], [], [log], until=10)
    assert list(made.entries) == [entry(step) for step in range(1, 11)]
    assert made.sentences()[0] == "5 entries of steps 1 to 5: from the log"


def test_a_value_that_stands_in_no_log_is_not_made_up() -> None:
    rows = {step: row(step) for step in range(1, 11)}
    rows[8]["reward"] = 0.25
    made = rebuild([entry(step) for step in range(6, 11)], [], [Rows("log", rows)], until=10)
    assert made.added == 0
    assert "no performance" in made.left[0]


def test_a_value_that_is_always_the_same_is_not_taken_from_another_name() -> None:
    rows = {step: {"step": step, "zero": 0.5} for step in range(1, 11)}
    there = [(step, {"step": step, "performance": 0.5}) for step in range(6, 11)]
    assert rebuild(there, [], [Rows("log", rows)], until=10).added == 0


def test_the_trainers_window_is_kept() -> None:
    kept = [KeptHistory("kept", tuple(entry(step) for step in range(1, 11)))]
    made = rebuild([entry(9), entry(10)], kept, [], until=10, window=5)
    assert [step for step, _ in made.entries] == [6, 7, 8, 9, 10]
