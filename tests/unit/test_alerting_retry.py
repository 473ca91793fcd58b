from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resume_daemon.alerting.retry import Delivered, Failed, Retry, decide, retry_after_seconds
from resume_daemon.alerting.sinks import Outcome

NOW = datetime(2025, 6, 12, 17, 0, tzinfo=UTC)


@pytest.mark.parametrize("status", [200, 202, 204])
def test_any_2xx_is_delivered(status: int) -> None:
    assert decide(Outcome(status), 1, NOW) == Delivered()


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 529, None])
@pytest.mark.parametrize("attempt", [1, 5, 10_000])
def test_what_may_be_an_outage_is_tried_again_for_ever(status: int | None, attempt: int) -> None:
    assert isinstance(decide(Outcome(status), attempt, NOW), Retry)


@pytest.mark.parametrize("status", [301, 302, 307, 308, 400, 401, 403, 404, 405, 413, 422])
def test_what_no_retry_can_mend_is_final_but_leaves_the_sink_in_use(status: int) -> None:
    step = decide(Outcome(status), 1, NOW)
    assert isinstance(step, Failed)
    assert not step.disables


def test_gone_disables_the_sink() -> None:
    step = decide(Outcome(410, "channel_is_archived"), 1, NOW)
    assert isinstance(step, Failed)
    assert step.disables
    assert "channel_is_archived" in step.reason
    assert "until a reload" in step.reason


def test_a_reason_names_the_status_and_what_the_receiver_said() -> None:
    step = decide(Outcome(400, "invalid_token"), 1, NOW)
    assert isinstance(step, Failed)
    assert step.reason.startswith("HTTP 400: invalid_token")


def test_delays_double_up_to_five_minutes() -> None:
    steps = [decide(Outcome(503), attempt, NOW) for attempt in range(1, 13)]
    delays = [step.after for step in steps if isinstance(step, Retry)]
    assert delays == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]


def test_after_the_first_hour_there_is_at_most_one_attempt_in_five_minutes() -> None:
    passed = 0.0
    for attempt in range(1, 40):
        step = decide(Outcome(None), attempt, NOW)
        assert isinstance(step, Retry)
        if passed > 3600:
            assert step.after >= 300
        passed += step.after


@given(st.integers(1, 100), st.floats(0, 1))
def test_jitter_only_lengthens_a_delay_and_by_a_quarter_at_most(
    attempt: int, jitter: float
) -> None:
    plain, late = (decide(Outcome(503), attempt, NOW, jitter=value) for value in (0.0, jitter))
    assert isinstance(plain, Retry)
    assert isinstance(late, Retry)
    assert plain.after <= late.after <= plain.after * 1.25


def test_retry_after_in_seconds_is_honoured() -> None:
    assert decide(Outcome(429, retry_after="30"), 1, NOW) == Retry(30, "HTTP 429")


def test_retry_after_as_a_date_is_honoured() -> None:
    header = format_datetime(NOW + timedelta(seconds=90), usegmt=True)
    step = decide(Outcome(503, retry_after=header), 1, NOW)
    assert isinstance(step, Retry)
    assert step.after == 90


def test_retry_after_never_shortens_the_backoff() -> None:
    step = decide(Outcome(429, retry_after="1"), 20, NOW)
    assert isinstance(step, Retry)
    assert step.after == 300


@pytest.mark.parametrize("header", ["86400", "9" * 5000, "Fri, 12 Jun 2099 17:00:00 GMT"])
def test_retry_after_is_believed_for_an_hour_at_most(header: str) -> None:
    assert retry_after_seconds(header, NOW) == 3600


@pytest.mark.parametrize(
    "header", [None, "", "soon", "-5", "1.5", "Thu, 12 Jun 2025 16:00:00 GMT", "Thu, 99 Jun 2025"]
)
def test_a_retry_after_that_is_past_or_nonsense_counts_as_none(header: str | None) -> None:
    assert retry_after_seconds(header, NOW) == 0


def test_a_date_without_a_zone_is_utc() -> None:
    assert retry_after_seconds("Thu, 12 Jun 2025 17:00:10 -0000", NOW) == 10


@given(st.text())
def test_no_retry_after_header_breaks_the_decision(header: str) -> None:
    assert 0 <= retry_after_seconds(header, NOW) <= 3600
