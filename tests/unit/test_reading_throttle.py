from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resume_daemon.reading.giving_way import GivingWay
from resume_daemon.reading.throttle import Throttle, TokenBucket


def test_what_fits_the_unused_allowance_is_read_at_once() -> None:
    assert TokenBucket(1000, now=5.0).take(250, now=5.0) == 0.0


def test_what_exceeds_it_waits_until_the_rate_has_paid_for_it() -> None:
    assert TokenBucket(1000, now=5.0).take(1250, now=5.0) == pytest.approx(1.0)


def test_an_idle_hour_earns_no_more_than_the_burst() -> None:
    bucket = TokenBucket(1000, now=0.0)
    bucket.take(250, now=0.0)
    assert bucket.take(1250, now=3600.0) == pytest.approx(1.0)


def test_a_second_worker_waits_behind_the_first_ones_debt() -> None:
    bucket = TokenBucket(1000, now=0.0)
    bucket.take(1250, now=0.0)
    assert bucket.take(1000, now=0.0) == pytest.approx(2.0)


@given(
    rate=st.integers(1, 10**9),
    requests=st.lists(st.tuples(st.integers(1, 10**7), st.floats(0, 10)), max_size=30),
)
def test_no_more_than_the_rate_and_one_burst_is_ever_granted(
    rate: int, requests: list[tuple[int, float]]
) -> None:
    bucket, now, granted = TokenBucket(rate, now=0.0), 0.0, 0
    for amount, idle in requests:
        now += idle
        now += bucket.take(amount, now)
        granted += amount
        assert granted <= (rate * now + 0.25 * rate) * (1 + 1e-9) + 1e-3


def test_no_limit_never_waits() -> None:
    Throttle(None).wait(10**15, lambda: False)


def test_a_wait_of_days_ends_when_the_work_is_cancelled() -> None:
    cancelled = threading.Event()
    waiter = threading.Thread(target=Throttle(1).wait, args=(10**6, cancelled.is_set))
    waiter.start()
    cancelled.set()
    waiter.join(30)
    assert not waiter.is_alive()


def test_a_wait_that_is_not_cancelled_ends_too() -> None:
    limit = Throttle(100_000)
    limit.wait(25_000, lambda: False)
    limit.wait(1_000, lambda: False)


def test_who_gives_way_rests_before_the_read_until_it_is_cancelled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(GivingWay, "rest", lambda _: 10.0**6)
    asked = []

    def cancelled() -> bool:
        asked.append(True)
        return len(asked) > 2

    Throttle(give_way=True).wait(1, cancelled)
    assert len(asked) == 3

    Throttle().wait(1, cancelled)
    assert len(asked) == 3, "who does not give way never rests"
