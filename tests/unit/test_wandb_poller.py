from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from resume_daemon.trackers import wandb_poller
from resume_daemon.trackers.wandb_api import (
    ApiError,
    ApiState,
    RateLimitedError,
    RunNotFoundError,
    UnauthorisedError,
    UnreachableError,
)
from resume_daemon.trackers.wandb_poller import (
    MAX_DELAY,
    MIN_INTERVAL,
    ApiAnswer,
    ApiPoller,
    next_delay,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

STATE = ApiState("running", None, 250, 249, 200)
DOWN = UnreachableError("ask", "http://server", "refused")


@pytest.fixture(autouse=True)
def no_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wandb_poller, "next_delay", lambda *_: 0.0)


def test_a_server_that_answers_is_asked_at_the_interval_but_not_faster_than_there_is_news() -> None:
    assert next_delay(None, 0, 60) == 60
    assert next_delay(None, 0, 0.1) == MIN_INTERVAL


def test_a_server_that_is_down_is_asked_less_and_less_often_up_to_a_limit() -> None:
    delays = [next_delay(DOWN, failures, 30) for failures in range(1, 10_000)]
    assert delays[:4] == [60, 120, 240, 480]
    assert delays == sorted(delays)
    assert max(delays) == MAX_DELAY
    assert next_delay(DOWN, 5, 2 * MAX_DELAY) == 2 * MAX_DELAY


def test_a_server_that_asks_for_patience_gets_at_least_what_it_asks_for() -> None:
    assert next_delay(RateLimitedError("s", 1800), 1, 30) == 1800
    assert next_delay(RateLimitedError("s", 1), 1, 30) == 60
    assert next_delay(RateLimitedError("s", None), 1, 30) == 60


@pytest.mark.parametrize("kind", [UnauthorisedError, RunNotFoundError])
def test_what_only_a_person_mends_is_asked_about_seldom(kind: type[ApiError]) -> None:
    assert next_delay(kind("ask", "s", "no"), 1, 30) == MAX_DELAY


def test_nothing_is_known_before_the_first_answer() -> None:
    assert ApiPoller(lambda: STATE).latest() == ApiAnswer()


def test_the_last_state_stays_while_the_server_fails_and_the_failures_are_counted() -> None:
    answers: Iterator[ApiState | ApiError] = iter([STATE, DOWN, DOWN])
    done = threading.Event()

    def fetch() -> ApiState:
        answer = next(answers, None)
        if answer is None:
            done.set()
            stop.wait(10)
            raise DOWN
        if isinstance(answer, ApiError):
            raise answer
        return answer

    stop = threading.Event()
    poller = ApiPoller(fetch)
    poller.start()
    assert done.wait(10)
    latest = poller.latest()
    assert (latest.state, latest.error, latest.failures) == (STATE, DOWN, 2)
    assert latest.at is not None
    stop.set()
    poller.stop(10)
    assert not poller.is_alive()


def test_an_answer_ends_the_row_of_failures() -> None:
    answers: Iterator[ApiState | ApiError] = iter([DOWN, DOWN, STATE])
    seen: list[ApiAnswer] = []
    enough = threading.Event()

    def fetch() -> ApiState:
        answer = next(answers, STATE)
        if isinstance(answer, ApiError):
            raise answer
        return answer

    def wake() -> None:
        seen.append(poller.latest())
        if len(seen) == 3:
            enough.set()

    poller = ApiPoller(fetch, wake=wake)
    poller.start()
    assert enough.wait(10)
    poller.stop(10)
    assert [answer.failures for answer in seen[:3]] == [1, 2, 0]
    assert (seen[2].state, seen[2].error) == (STATE, None)


def test_a_request_that_hangs_holds_up_neither_the_reader_nor_the_stop() -> None:
    asked, release = threading.Event(), threading.Event()

    def fetch() -> ApiState:
        asked.set()
        release.wait(30)
        return STATE

    poller = ApiPoller(fetch)
    poller.start()
    assert asked.wait(10)
    assert poller.latest() == ApiAnswer()
    poller.stop(timeout=0.01)
    assert poller.is_alive()
    assert all(t.daemon for t in threading.enumerate() if t.name == "wandb-api")
    release.set()
    poller.stop(10)
    assert not poller.is_alive()


def test_a_poller_that_was_never_started_can_be_stopped() -> None:
    poller = ApiPoller(lambda: STATE)
    poller.stop()
    assert not poller.is_alive()
