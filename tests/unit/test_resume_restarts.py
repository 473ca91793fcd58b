from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from resume_daemon.resume.restarts import LONGEST_PAUSE, Restarts


def test_a_trainer_that_has_finished_is_not_started_again() -> None:
    assert Restarts(most=9, from_step=0).after(0, 50).pause is None


def test_it_is_started_again_as_often_as_allowed() -> None:
    restarts = Restarts(most=2, from_step=0)
    pauses = [restarts.after(1, step).pause for step in (10, 20, 30)]
    assert pauses == [5, 5, None]


def test_a_restart_that_gained_no_step_is_the_last() -> None:
    restarts = Restarts(most=9, from_step=10)
    assert restarts.after(1, 10).pause == 5
    ended = restarts.after(1, 10)
    assert ended.pause is None
    assert ended.reason == "no step was gained since the last start, from step 10"


def test_nothing_to_resume_from_ends_it() -> None:
    assert Restarts(most=9, from_step=10).after(1, None).pause is None


@given(
    most=st.integers(0, 20),
    ends=st.lists(st.tuples(st.integers(0, 3), st.none() | st.integers(0, 100)), max_size=60),
)
def test_it_always_ends_and_never_waits_longer_than_the_longest_pause(
    most: int, ends: list[tuple[int, int | None]]
) -> None:
    restarts = Restarts(most=most, from_step=-1)
    made = [restarts.after(status, step) for status, step in ends]
    pauses = [each.pause for each in made if each.pause is not None]
    assert len(pauses) <= most
    assert all(5 <= pause <= LONGEST_PAUSE for pause in pauses)
    assert all(each.reason for each in made if each.pause is None)
