from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resume_daemon.config.settings import Settings
from resume_daemon.daemon.setup import make_setup
from resume_daemon.reading import giving_way
from resume_daemon.reading.giving_way import GivingWay, Share, thread_times
from resume_daemon.reading.throttle import Throttle

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

SLICE = 0.001
"""Seconds that a thread runs between two looks in these tests."""


def taken(share: Share, waits: Iterable[float]) -> float:
    """Return the part of the time that is not rest, at the second half of the looks."""
    rests = [share.rest(SLICE, waited) for waited in waits]
    late = rests[len(rests) // 2 :]
    return SLICE * len(late) / (SLICE * len(late) + sum(late))


@given(ran=st.lists(st.floats(0, 1), max_size=50))
def test_nobody_rests_where_nobody_is_in_need(ran: list[float]) -> None:
    share = Share(0.01)

    assert [share.rest(each, waited=0.1 * each) for each in ran] == [0.0] * len(ran)


def test_the_time_that_an_idle_processor_takes_to_wake_up_is_nobodys_need() -> None:
    assert Share(0.01).rest(ran=0.00001, waited=0.0001) == 0.0


@given(least=st.floats(0.001, 1), factor=st.floats(1, 1000))
def test_where_others_are_always_in_need_the_least_share_is_left(
    least: float, factor: float
) -> None:
    assert taken(Share(least), [factor * SLICE] * 100) == pytest.approx(least)


def test_a_moment_of_need_is_forgotten_soon() -> None:
    share = Share(0.01)
    assert share.rest(SLICE, waited=1.0) == pytest.approx(SLICE)
    assert taken(share, [0.0] * 8) == 1.0


@pytest.mark.parametrize(("every", "lowest", "highest"), [(2, 0.01, 0.02), (10, 0.8, 1.0)])
def test_it_stays_low_where_others_are_often_in_need_and_high_where_they_rarely_are(
    every: int, lowest: float, highest: float
) -> None:
    waits = [float(number % every == 0) for number in range(1000)]

    assert lowest <= taken(Share(0.01), waits) <= highest


@given(quota=st.floats(0.05, 0.8))
def test_where_only_its_own_quota_makes_it_wait_it_takes_most_of_that(quota: float) -> None:
    share, taking, used = Share(0.01), 1.0, []
    for _ in range(500):
        # What it takes beyond the quota, it waits for.
        rest = share.rest(SLICE, waited=SLICE * max(0.0, taking / quota - 1))
        taking = SLICE / (SLICE + rest)
        used.append(min(taking, quota))

    assert sum(used[100:]) / len(used[100:]) > 0.6 * quota


@pytest.mark.skipif(
    thread_times() is None, reason="the kernel does not say how long a thread waited"
)
def test_a_thread_rests_beside_one_that_wants_its_processor() -> None:
    processor = min(os.sched_getaffinity(0))
    spin = (
        f"import os; os.sched_setaffinity(0, {{{processor}}}); print(flush=True)\nwhile True: pass"
    )

    def work_until_it_should_rest() -> float:
        os.sched_setaffinity(0, {processor})
        way = GivingWay(workers=2)
        while not (rest := way.rest()):
            pass
        return rest

    with (
        subprocess.Popen([sys.executable, "-c", spin], stdout=subprocess.PIPE) as other,
        ThreadPoolExecutor(1) as pool,
    ):
        try:
            assert other.stdout is not None
            other.stdout.readline()
            assert pool.submit(work_until_it_should_rest).result() > 0
        finally:
            other.kill()


def test_each_thread_is_judged_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([(0.0, 0.0), (1.0, 9.0), (0.0, 0.0), (1.0, 0.0)])
    monkeypatch.setattr(giving_way, "thread_times", lambda: next(times))
    monkeypatch.setattr(giving_way, "_LOOK_SECONDS", 0.0)
    way = GivingWay(workers=1)
    assert way.rest() == pytest.approx(1.0)

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(way.rest).result() == 0.0


def test_where_the_kernel_does_not_say_nobody_rests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(giving_way, "_SCHEDSTAT", tmp_path / "schedstat")
    monkeypatch.setattr(giving_way, "_LOOK_SECONDS", 0.0)
    assert GivingWay(workers=1).rest() == 0.0
    Throttle(give_way=True).wait(10**15, lambda: False)


@pytest.mark.parametrize(("configured", "gives_way"), [({}, True), ({"priority": "normal"}, False)])
def test_a_daemon_gives_way_unless_it_is_told_to_compete(
    tmp_path: Path, configured: dict[str, str], gives_way: bool
) -> None:
    settings = Settings.model_validate({"run": tmp_path, "verify": configured})

    assert make_setup(settings).verification.reading.give_way is gives_way
