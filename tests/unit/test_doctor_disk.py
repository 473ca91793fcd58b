"""Room for what is to come: size and rhythm of the checkpoints against what is free."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resume_daemon.doctor.disk import DiskFacts, Room, Saved, amount, check, forecast, summary

GIB = 1024**3
HOUR = 3600.0


def saved(count: int, *, size: int = 10 * GIB, every: float = HOUR) -> tuple[Saved, ...]:
    """Return checkpoints of every 100 steps, the oldest first."""
    return tuple(
        Saved(f"checkpoint-{n * 100}", n * 100, size, 12, at=n * every) for n in range(1, count + 1)
    )


def facts(free: int, count: int = 5, **changes: Any) -> DiskFacts:
    return DiskFacts(Room(1000 * GIB, free), **{"saved": saved(count), **changes})


def said(found: DiskFacts) -> list[str]:
    return [each.code for each in check(found)]


def test_room_for_all_that_is_to_come_gives_no_finding() -> None:
    found = facts(60 * GIB, save_steps=100, last_step=1000)
    assert said(found) == []
    assert "enough for what is to come" in summary(found)


def test_a_next_checkpoint_that_does_not_fit_is_an_error() -> None:
    (found,) = check(facts(10 * GIB - 1))
    assert (found.code, found.severity.value) == ("RD852", "error")
    assert found.message == "10.0 GiB are free; a checkpoint takes 10.0 GiB."


def test_a_disk_that_fills_before_the_end_is_told_with_the_time_that_is_left() -> None:
    (found,) = check(facts(25 * GIB, save_steps=100, last_step=1000))
    assert (found.code, found.severity.value) == ("RD853", "warning")
    assert found.message == (
        "25.0 GiB are free, room for 2 more of 10.0 GiB; 5 more are to come; full after about "
        "3 hours of training."
    )


def test_rotation_needs_room_for_one_more_and_no_further() -> None:
    rotated = {"limit": 5, "save_steps": 100, "last_step": 100_000}
    assert said(facts(10 * GIB, **rotated)) == []
    assert said(facts(9 * GIB, **rotated)) == ["RD852"]
    # Two are there of five that are kept: three more, and one while the newest is written.
    assert said(facts(39 * GIB, 2, **rotated)) == ["RD853"]
    assert said(facts(40 * GIB, 2, **rotated)) == []


def test_a_training_that_has_ended_needs_no_room() -> None:
    assert said(facts(0, save_steps=100, last_step=500)) == []


def test_a_pause_between_two_starts_is_not_the_rhythm() -> None:
    times = [1.0, 2.0, 3.0, 90.0, 91.0]
    checkpoints = tuple(
        Saved(f"checkpoint-{n}", n, GIB, 1, at=hours * HOUR) for n, hours in enumerate(times, 1)
    )
    found = forecast(facts(0, saved=checkpoints))
    assert found is not None
    assert found.every == HOUR


def test_a_save_that_was_cut_off_does_not_make_the_next_one_small() -> None:
    cut = (*saved(3), Saved("checkpoint-400", 400, 1000, 2, at=4 * HOUR))
    assert said(facts(5 * GIB, saved=cut)) == ["RD852"]


def test_inodes_run_out_as_well() -> None:
    assert said(DiskFacts(Room(1000 * GIB, 500 * GIB, free_inodes=11), saved(3))) == ["RD854"]
    assert said(DiskFacts(Room(1000 * GIB, 500 * GIB, free_inodes=12), saved(3))) == []
    assert said(DiskFacts(Room(1000 * GIB, 500 * GIB, free_inodes=None), saved(3))) == []


def test_the_disk_of_our_own_records_is_looked_at_where_it_is_another_one() -> None:
    full = Room(GIB, 1024)
    assert said(facts(500 * GIB, sidecar=full)) == ["RD855"]
    assert said(facts(500 * GIB, sidecar=Room(GIB, GIB))) == []


def test_without_a_checkpoint_nothing_is_claimed() -> None:
    found = DiskFacts(Room(1000 * GIB, 0))
    assert said(found) == []
    assert "no checkpoint yet shows what one takes" in summary(found)


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0 bytes"), (1023, "1023 bytes"), (1536, "1.5 KiB"), (5 * 1024**4, "5.0 TiB")],
)
def test_amounts_are_those_of_df(number: int, text: str) -> None:
    assert amount(number) == text


@given(
    free=st.integers(0, 100 * GIB),
    count=st.integers(1, 8),
    size=st.integers(1, 20 * GIB),
    limit=st.none() | st.integers(1, 10),
    last_step=st.none() | st.integers(1, 3000),
)
def test_an_error_is_said_only_where_one_more_is_to_come_and_does_not_fit(
    free: int, count: int, size: int, limit: int | None, last_step: int | None
) -> None:
    found = facts(
        free, saved=saved(count, size=size), limit=limit, save_steps=100, last_step=last_step
    )
    over = last_step is not None and last_step <= count * 100
    assert ("RD852" in said(found)) == (free < size and not over)
    assert summary(found)
