from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from resume_daemon.curriculum.assignment import Assignment, Known, assign, assign_all

FILE = "curriculum_state.json"


def known(step: int | None, seen_at: int, digest: str = "", file: str = FILE) -> Known:
    return Known(digest or f"{step}@{seen_at}", step, seen_at, file)


def test_a_checkpoint_gets_the_last_state_up_to_its_step_and_is_told_how_far_off() -> None:
    found = assign(310, [known(250, 1), known(300, 2), known(350, 3)])
    assert found is not None
    assert (found.digest, found.offset, found.certain) == ("300@2", -10, True)
    assert found.sentence == "the state of step 300, 10 steps behind checkpoint-310"


def test_a_state_of_the_same_step_is_said_to_be_the_same() -> None:
    found = assign(300, [known(300, 2)], checkpoint="global_step_300")
    assert found is not None
    assert found.sentence == "the state of step 300, the same as global_step_300"


def test_where_every_state_is_later_the_nearest_is_taken_and_said_to_be_ahead() -> None:
    found = assign(9, [known(12, 3), known(10, 2)])
    assert found is not None
    assert (found.digest, found.offset) == ("10@2", 1)
    assert found.sentence.startswith("the state of step 10, 1 step ahead of checkpoint-9")


def test_after_a_rollback_the_state_of_a_step_that_was_seen_last_wins() -> None:
    versions = [known(10, 1), known(20, 2), known(30, 3), known(20, 4)]
    found = assign(20, versions)
    assert found is not None
    assert found.digest == "20@4"


def test_a_checkpoint_of_the_second_try_gets_no_state_of_the_abandoned_one() -> None:
    versions = [known(10, 1), known(25, 2), known(30, 3), known(12, 5), known(20, 6)]
    found = assign(28, versions, changed_at=7)
    assert found is not None
    assert found.digest == "20@6"


def test_a_checkpoint_from_before_a_rollback_keeps_the_state_of_its_time() -> None:
    versions = [known(10, 1), known(20, 2), known(30, 3), known(12, 5), known(20, 6), known(30, 7)]
    found = assign(30, versions, changed_at=4)
    assert found is not None
    assert found.digest == "30@3"


def test_a_state_without_a_step_is_chosen_by_time_and_said_to_be_uncertain() -> None:
    second = 1_000_000_000
    found = assign(50, [known(None, second), known(None, 20 * second)], changed_at=13 * second)
    assert found is not None
    assert (found.digest, found.offset, found.certain) == (f"None@{second}", None, False)
    assert "12 s before checkpoint-50" in found.sentence
    assert "uncertain" in found.sentence


def test_a_state_first_written_after_the_checkpoint_is_said_to_be_so() -> None:
    found = assign(50, [known(None, 5_000_000_000)], changed_at=2_000_000_000)
    assert found is not None
    assert "3 s after checkpoint-50" in found.sentence


def test_every_state_file_has_its_own_assignment() -> None:
    found = assign_all(20, [known(20, 1), known(10, 1, file="other.json")])
    assert {file: a.offset for file, a in found.items()} == {FILE: 0, "other.json": -10}


def test_without_a_version_there_is_no_assignment() -> None:
    assert assign(10, []) is None
    assert assign_all(10, []) == {}


def test_an_assignment_survives_its_json() -> None:
    found = assign(310, [known(300, 2)])
    assert found is not None
    assert Assignment.from_json(FILE, found.as_json()) == found


versions_strategy = st.lists(
    st.builds(known, st.integers(0, 60), st.integers(0, 60)), min_size=1, max_size=15
)


@given(st.integers(0, 60), versions_strategy)
def test_no_other_version_fits_better_by_step(step: int, versions: list[Known]) -> None:
    found = assign(step, versions)
    assert found is not None
    assert found.step is not None
    assert found.offset == found.step - step
    steps = [v.step for v in versions if v.step is not None]
    until = [s for s in steps if s <= step]
    assert found.step == (max(until) if until else min(steps))
    same = [v for v in versions if v.step == found.step]
    assert found.digest in {v.digest for v in same if v.seen_at == max(s.seen_at for s in same)}


@given(st.integers(0, 60), versions_strategy)
def test_the_order_in_which_versions_are_given_does_not_matter(
    step: int, versions: list[Known]
) -> None:
    turned = versions[::-1]
    for changed_at in (None, 30):
        assert assign(step, versions, changed_at=changed_at) == assign(
            step, turned, changed_at=changed_at
        )


@given(st.lists(st.integers(0, 60), min_size=1, unique=True), st.integers(0, 60))
def test_a_run_without_a_rollback_needs_no_times(steps: list[int], step: int) -> None:
    versions = [known(s, seen) for seen, s in enumerate(sorted(steps))]
    assert assign(step, versions, changed_at=len(steps)) == assign(step, versions)
