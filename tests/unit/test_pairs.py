from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from resume_daemon.seams import StepMode
from resume_daemon.steps import StepPair
from resume_daemon.trackers.pairs import KeptPair, compact


def pair(trainer_step: int, tracker_step: int | None = None, segment: str = "s1") -> StepPair:
    tracker = trainer_step - 1 if tracker_step is None else tracker_step
    return StepPair("wandb", "r", segment, tracker, trainer_step, 100 * trainer_step)


def test_a_segments_first_pair_is_kept() -> None:
    pairs = [pair(1), pair(2), pair(101, 150, "s2"), pair(102, 151, "s2")]
    assert compact(pairs) == (KeptPair(pairs[0]), KeptPair(pairs[2]))
    assert compact([pair(3)], previous=pair(2)) == ()


def test_each_checkpoint_gets_the_pair_of_its_step() -> None:
    pairs = [pair(step) for step in range(1, 301)]
    kept = compact(pairs, checkpoint_steps=[200, 100])
    assert kept == (
        KeptPair(pairs[0]),
        KeptPair(pairs[99], 100),
        KeptPair(pairs[199], 200),
    )


def test_a_checkpoint_between_two_logged_steps_gets_the_one_below() -> None:
    kept = compact([pair(100), pair(110)], previous=pair(90), checkpoint_steps=[95, 105, 107])
    assert kept == (
        KeptPair(pair(90), 95),
        KeptPair(pair(100), 105),
        KeptPair(pair(100), 107),
    )


def test_a_checkpoint_waits_for_rows_that_wandb_writes_late() -> None:
    assert compact([pair(90)], previous=pair(80), checkpoint_steps=[100]) == ()
    assert compact([pair(100)], previous=pair(90), checkpoint_steps=[100]) == (
        KeptPair(pair(100), 100),
    )


def test_a_checkpoint_that_is_known_late_gets_the_row_that_passed_already() -> None:
    assert compact([pair(110)], previous=pair(100), checkpoint_steps=[100]) == (
        KeptPair(pair(100), 100),
    )


def test_a_new_segment_does_not_end_the_wait_of_a_checkpoint() -> None:
    kept = compact([pair(130, 150, "s2")], previous=pair(99), checkpoint_steps=[100])
    assert kept == (KeptPair(pair(130, 150, "s2")),)


def test_a_first_pair_that_is_a_checkpoints_is_kept_once() -> None:
    assert compact([pair(100)], checkpoint_steps=[100]) == (KeptPair(pair(100), 100),)


def test_a_step_that_goes_back_within_a_process_passes_no_checkpoint() -> None:
    assert compact([pair(10, 100)], previous=pair(100), checkpoint_steps=[50]) == ()


def test_a_moving_offset_is_news_only_where_the_trainer_decides_the_step() -> None:
    pairs = [pair(2, 2), pair(3, 7), pair(4, 8)]
    previous = pair(1, 1)
    assert compact(pairs, previous=previous, mode=StepMode.EXPLICIT) == (KeptPair(pairs[1]),)
    for mode in (StepMode.AUTOMATIC, StepMode.UNKNOWN):
        assert compact(pairs, previous=previous, mode=mode) == ()


@given(
    steps=st.lists(st.integers(1, 60), unique=True).map(sorted),
    checkpoints=st.sets(st.integers(1, 60)),
    cut=st.integers(0, 60),
)
def test_two_batches_keep_what_one_keeps(steps: list[int], checkpoints: set[int], cut: int) -> None:
    pairs = [pair(step) for step in steps]
    whole = compact(pairs, checkpoint_steps=checkpoints)
    first = compact(pairs[:cut], checkpoint_steps=checkpoints)
    left = checkpoints - {kept.checkpoint_step for kept in first}
    previous = pairs[:cut][-1] if pairs[:cut] else None
    second = compact(pairs[cut:], previous=previous, checkpoint_steps=left)
    assert first + second == whole
    for kept in whole:
        if kept.checkpoint_step is not None:
            below = [step for step in steps if step <= kept.checkpoint_step]
            assert kept.pair.trainer_step == max(below)
