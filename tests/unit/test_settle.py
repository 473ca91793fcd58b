from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resume_daemon.watching.settle import (
    FRESH_SECONDS,
    Action,
    Seen,
    Settings,
    decide,
    is_rotation,
    observe,
)

WALL = 1_700_000_000.0
"""How far the two clocks are apart: they begin at different moments."""

LOOKS = st.lists(
    st.tuples(
        st.floats(0, 2000),  # seconds since the look before
        st.integers(0, 2),  # what is there: a few states, so that an old one may come back
        st.booleans(),  # whether the required set is there
    ),
    min_size=1,
    max_size=30,
)
SETTINGS = st.builds(Settings, settle=st.floats(0.1, 60), abandon=st.floats(60, 2000))


class Watch:
    """A checkpoint that is looked at again and again, and verified whenever that is decided."""

    def __init__(self, settings: Settings, *, age: float = 0.0) -> None:
        self.settings = settings
        self.age = age
        self.now = 0.0
        self.seen: Seen | None = None
        self.verified: str | None = None
        self.verifications: list[tuple[float, str]] = []
        self.changes: list[float] = []

    def look(self, after: float, state: str, *, complete: bool) -> Action:
        """Look once more after some seconds, and return what was decided and done."""
        self.now += after
        if self.seen is None or self.seen.fingerprint != state:
            first = self.seen is None
            self.changes.append(self.now - self.age if first else self.now)
        self.seen = observe(
            self.seen,
            fingerprint=state,
            complete=complete,
            changed=WALL + self.changes[-1],
            now=self.now,
            wall=WALL + self.now,
        )
        decision = decide(self.seen, verified=self.verified, settings=self.settings, now=self.now)
        if decision.action is Action.WAIT:
            assert decision.look_again is not None
            assert decision.look_again > self.now
        if decision.action is Action.VERIFY:
            self.verified = state
            self.verifications.append((self.now, state))
        return decision.action


@given(SETTINGS, LOOKS, st.floats(0, 3 * FRESH_SECONDS))
def test_nothing_is_verified_before_it_was_quiet_for_long_enough(
    settings: Settings, looks: list[tuple[float, int, bool]], age: float
) -> None:
    watch = Watch(settings, age=age)
    for after, state, complete in looks:
        if watch.look(after, str(state), complete=complete) is Action.VERIFY:
            patience = settings.settle if complete else settings.abandon
            assert watch.now - watch.changes[-1] >= patience - 1e-6


@given(SETTINGS, LOOKS)
def test_the_time_stamp_of_something_fresh_is_not_trusted(
    settings: Settings, looks: list[tuple[float, int, bool]]
) -> None:
    watch = Watch(settings, age=FRESH_SECONDS - 1)
    after, state, complete = looks[0]

    assert watch.look(after, str(state), complete=complete) is Action.WAIT


@given(SETTINGS, LOOKS)
def test_what_is_quiet_is_verified_once_and_then_left_alone(
    settings: Settings, looks: list[tuple[float, int, bool]]
) -> None:
    watch = Watch(settings)
    for after, number, whole in looks:
        watch.look(after, str(number), complete=whole)
    assert watch.seen is not None
    state, complete = watch.seen.fingerprint, watch.seen.complete
    # One look at the time that was asked for, and no other, is enough.
    again = decide(watch.seen, verified=watch.verified, settings=settings, now=watch.now)
    if again.look_again is not None:
        action = watch.look(again.look_again - watch.now, state, complete=complete)
        assert action is Action.VERIFY

    assert watch.verified == state
    done = len(watch.verifications)
    for _ in range(3):
        assert watch.look(5000, state, complete=complete) is Action.NOTHING
    assert len(watch.verifications) == done


@given(SETTINGS, LOOKS)
def test_nothing_is_verified_twice_in_a_row(
    settings: Settings, looks: list[tuple[float, int, bool]]
) -> None:
    watch = Watch(settings)
    for after, state, complete in looks:
        watch.look(after, str(state), complete=complete)
    states = [state for _, state in watch.verifications]

    assert all(a != b for a, b in pairwise(states))


def test_an_incomplete_checkpoint_is_given_up_only_after_a_long_time() -> None:
    watch = Watch(Settings(settle=2, abandon=900))

    assert watch.look(0, "weights alone", complete=False) is Action.WAIT
    assert watch.look(899, "weights alone", complete=False) is Action.WAIT
    assert watch.look(1, "weights alone", complete=False) is Action.VERIFY


def test_the_wait_starts_anew_with_each_change_and_a_late_file_is_verified_too() -> None:
    watch = Watch(Settings(settle=2))

    assert watch.look(0, "rank 0", complete=True) is Action.WAIT
    assert watch.look(1.5, "ranks 0 and 1", complete=True) is Action.WAIT
    assert watch.look(1.5, "ranks 0 and 1", complete=True) is Action.WAIT
    assert watch.look(0.5, "ranks 0 and 1", complete=True) is Action.VERIFY
    assert watch.look(60, "ranks 0 to 2", complete=True) is Action.WAIT
    assert watch.look(2, "ranks 0 to 2", complete=True) is Action.VERIFY


def test_what_was_there_long_before_the_first_look_is_verified_at_once() -> None:
    watch = Watch(Settings(settle=2), age=FRESH_SECONDS + 1)

    assert watch.look(0, "old", complete=True) is Action.VERIFY


def test_a_time_stamp_in_the_future_is_waited_for_like_any_other() -> None:
    watch = Watch(Settings(settle=2), age=-3600)

    assert watch.look(0, "from the future", complete=True) is Action.WAIT
    assert watch.look(2, "from the future", complete=True) is Action.VERIFY


BEFORE = frozenset({"model.safetensors", "optimizer.pt", "trainer_state.json"})


@pytest.mark.parametrize(
    ("now", "required", "newer", "rotated"),
    [
        ({"optimizer.pt"}, False, True, True),
        (set(), False, True, True),
        ({"optimizer.pt"}, False, False, False),  # the newest is never rotated
        ({"model.safetensors", "trainer_state.json"}, True, True, False),  # only a part is lost
        ({"optimizer.pt", "notes.txt"}, False, True, False),  # something was added
        (BEFORE, False, True, False),  # something was changed
    ],
)
def test_rotation_takes_away_from_an_old_checkpoint_and_does_nothing_else(
    now: set[str], required: bool, newer: bool, rotated: bool
) -> None:
    assert is_rotation(before=BEFORE, now=frozenset(now), required=required, newer=newer) is rotated
