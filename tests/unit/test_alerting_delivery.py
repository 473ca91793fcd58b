from __future__ import annotations

import threading
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from queue import Empty, Queue
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from resume_daemon.alerting.conditions import Flip, State
from resume_daemon.alerting.delivery import LOG_INTERVAL, Delivery
from resume_daemon.alerting.outbox import Alert, Closed
from resume_daemon.alerting.sinks import Message, Outcome
from resume_daemon.alerting.sinks.memory import MemorySink
from resume_daemon.conditions import Condition
from resume_daemon.findings import Severity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resume_daemon.alerting.sinks import Sink

T0 = datetime(2025, 6, 12, tzinfo=UTC)
PATIENCE = 10.0


def alert(number: int, sink: str = "memory") -> Alert:
    condition = Condition(f"key-{number}", "RD601", Severity.ERROR, "wrong")
    flip = Flip(condition, State.FIRING, since=T0, at=T0)
    return Alert(f"msg_{number:032x}", sink, run="run", host="host", flip=flip)


@dataclass
class _Bench:
    """A delivery whose pauses take no time: they are noted, and the clock jumps."""

    closed: Queue[Closed] = field(default_factory=Queue)
    pauses: list[float] = field(default_factory=list)
    seconds: float = 0.0

    def clock(self) -> float:
        return self.seconds

    def pause(self, event: threading.Event, seconds: float) -> bool:
        self.pauses.append(seconds)
        self.seconds += seconds
        return event.is_set()

    @contextmanager
    def deliver(self, *sinks: Sink) -> Iterator[Delivery]:
        delivery = Delivery(
            sinks,
            self.closed.put,
            clock=self.clock,
            now=lambda: T0,
            jitter=lambda: 0.0,
            pause=self.pause,
        )
        delivery.start()
        try:
            yield delivery
        finally:
            assert delivery.stop(PATIENCE)

    def outcomes(self, count: int) -> list[tuple[str, int]]:
        closed = [self.closed.get(timeout=PATIENCE) for _ in range(count)]
        return [(one.outcome, int(one.alert.id[4:], 16)) for one in closed]


@pytest.fixture
def bench() -> _Bench:
    return _Bench()


def ids(sink: MemorySink) -> list[int]:
    return [int(message.id[4:], 16) for message in sink.attempts]


def test_alerts_are_delivered_in_order(bench: _Bench) -> None:
    sink = MemorySink()
    with bench.deliver(sink) as delivery:
        delivery.submit([alert(1), alert(2), alert(3)])
        assert bench.outcomes(3) == [("delivered", 1), ("delivered", 2), ("delivered", 3)]
    assert ids(sink) == [1, 2, 3]


def test_an_outage_delays_and_loses_nothing(bench: _Bench) -> None:
    sink = MemorySink(outcomes=[Outcome(None), Outcome(429, retry_after="7"), Outcome(503)])
    with bench.deliver(sink) as delivery:
        delivery.submit([alert(1), alert(2)])
        assert bench.outcomes(2) == [("delivered", 1), ("delivered", 2)]
    assert ids(sink) == [1, 1, 1, 1, 2]
    assert bench.pauses == [1, 7, 4]


def test_an_alert_that_is_closed_is_not_sent_again_while_its_record_is_not_written(
    bench: _Bench,
) -> None:
    sink = MemorySink()
    with bench.deliver(sink) as delivery:
        delivery.submit([alert(1)])
        assert bench.outcomes(1) == [("delivered", 1)]
        delivery.submit([alert(1), alert(2)])
        delivery.submit([alert(1), alert(2)])
        assert bench.outcomes(1) == [("delivered", 2)]
    assert ids(sink) == [1, 2]


def test_an_alert_that_is_pending_no_more_is_not_sent(bench: _Bench) -> None:
    sink = MemorySink(outcomes=[Outcome(503)])
    bench_pause = bench.pause

    def withdraw(event: threading.Event, seconds: float) -> bool:
        delivery.submit([alert(2)])
        return bench_pause(event, seconds)

    bench.pause = withdraw  # type: ignore[method-assign]
    with bench.deliver(sink) as delivery:
        delivery.submit([alert(1), alert(2)])
        assert bench.outcomes(1) == [("delivered", 2)]
    assert ids(sink) == [1, 2]


def test_a_final_failure_is_reported_with_its_reason_and_the_next_alert_is_tried(
    bench: _Bench,
) -> None:
    sink = MemorySink(outcomes=[Outcome(400, "invalid_payload")])
    with bench.deliver(sink) as delivery:
        delivery.submit([alert(1), alert(2)])
        first = bench.closed.get(timeout=PATIENCE)
        assert bench.outcomes(1) == [("delivered", 2)]
    assert first.outcome == "failed"
    assert "invalid_payload" in first.as_record()["reason"]


def test_a_sink_that_is_gone_gets_nothing_more_and_each_alert_is_reported(bench: _Bench) -> None:
    sink = MemorySink(outcomes=[Outcome(410)])
    with bench.deliver(sink) as delivery:
        delivery.submit([alert(1), alert(2)])
        assert bench.outcomes(2) == [("failed", 1), ("failed", 2)]
    assert ids(sink) == [1]


def test_messages_to_one_sink_keep_its_interval(bench: _Bench) -> None:
    with bench.deliver(MemorySink(interval=1.1)) as delivery:
        delivery.submit([alert(1), alert(2), alert(3)])
        bench.outcomes(3)
    assert bench.pauses == [1.1, 1.1]


class _HangingSink(MemorySink):
    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.entered = threading.Event()
        self.release = threading.Event()

    def send(self, message: Message) -> Outcome:
        self.entered.set()
        self.release.wait(PATIENCE)
        return super().send(message)


def test_a_sink_that_hangs_holds_up_no_other_and_not_the_caller(bench: _Bench) -> None:
    hanging = _HangingSink("hanging")
    with bench.deliver(hanging, MemorySink()) as delivery:
        delivery.submit([alert(1, "hanging")])
        assert hanging.entered.wait(PATIENCE)
        delivery.submit([alert(1, "hanging"), alert(2)])
        assert bench.outcomes(1) == [("delivered", 2)]
        hanging.release.set()
        assert bench.outcomes(1) == [("delivered", 1)]


def test_stopping_does_not_wait_for_a_sink_that_hangs_and_sends_nothing_after(
    bench: _Bench,
) -> None:
    hanging = _HangingSink("hanging")
    with bench.deliver(hanging) as delivery:
        delivery.submit([alert(1, "hanging"), alert(2, "hanging")])
        assert hanging.entered.wait(PATIENCE)
        assert delivery.stop(0.0) is False
        assert bench.closed.empty()
        hanging.release.set()
    assert ids(hanging) == [1]


def test_stopping_sends_what_can_be_sent_at_once(bench: _Bench) -> None:
    hanging = _HangingSink("hanging")
    hanging.release.set()
    with bench.deliver(hanging) as delivery:
        delivery.submit([alert(1, "hanging"), alert(2, "hanging")])
    assert bench.outcomes(2) == [("delivered", 1), ("delivered", 2)]


def test_stopping_ends_a_long_backoff() -> None:
    failing = MemorySink(outcomes=[Outcome(503, retry_after="3600")] * 2)
    backing_off = threading.Event()

    def pause(event: threading.Event, seconds: float) -> bool:
        backing_off.set()
        return event.wait(seconds)

    delivery = Delivery([failing], lambda _: None, pause=pause)
    delivery.start()
    delivery.submit([alert(1), alert(2)])
    assert backing_off.wait(PATIENCE)
    assert delivery.alive()
    assert delivery.stop(PATIENCE)
    assert ids(failing) == [1]
    assert not delivery.alive()


def test_a_delivery_that_never_started_can_be_stopped() -> None:
    assert Delivery([MemorySink()], lambda _: None).stop(PATIENCE)


def events(logs: list[Any]) -> dict[str, list[Any]]:
    found = defaultdict(list)
    for entry in logs:
        found[entry["event"].split(";")[0]].append(entry)
    return found


def test_an_outage_is_logged_once_an_hour_and_its_end_once(bench: _Bench) -> None:
    errors = 30
    sink = MemorySink(outcomes=[Outcome(503, "overloaded")] * errors)
    with capture_logs() as logs, bench.deliver(sink) as delivery:
        delivery.submit([alert(1), alert(2)])
        bench.outcomes(2)
    found = events(logs)
    hours = int(sum(bench.pauses) / LOG_INTERVAL)
    assert hours == 1
    warnings = found["alert cannot be delivered"]
    assert len(warnings) == 1 + hours
    assert warnings[0]["reason"] == "HTTP 503: overloaded"
    assert warnings[0]["waiting"] == 2
    assert [entry["errors_before"] for entry in found["alerts are delivered again"]] == [errors]


def test_one_alert_that_the_receiver_breaks_on_does_not_silence_the_sink(bench: _Bench) -> None:
    class Picky(MemorySink):
        def send(self, message: Message) -> Outcome:
            super().send(message)
            broken = message.id == alert(1).id and len(self.attempts) < 20
            return Outcome(500 if broken else 200)

    with bench.deliver(Picky()) as delivery:
        delivery.submit([alert(1), alert(2), alert(3)])
        outcomes = bench.outcomes(3)
    assert outcomes == [("delivered", 2), ("delivered", 3), ("delivered", 1)]
    assert max(bench.pauses) == 300


def test_an_error_inside_a_sink_is_told_without_its_text_and_the_alert_is_kept(
    bench: _Bench,
) -> None:
    class Broken(MemorySink):
        broken = True

        def send(self, message: Message) -> Outcome:
            if self.broken:
                self.broken = False
                raise KeyError("https://hooks.example/secret")
            return super().send(message)

    with capture_logs() as logs, bench.deliver(Broken()) as delivery:
        delivery.submit([alert(1)])
        assert bench.outcomes(1) == [("delivered", 1)]
    (warning,) = events(logs)["alert cannot be delivered"]
    assert "KeyError at test_alerting_delivery.py" in warning["reason"]
    assert "secret" not in str(logs)


def test_an_alert_for_a_sink_that_is_not_configured_is_left_to_the_outbox(bench: _Bench) -> None:
    with bench.deliver(MemorySink()) as delivery:
        delivery.submit([alert(1, "removed"), alert(2)])
        assert bench.outcomes(1) == [("delivered", 2)]
    with pytest.raises(Empty):
        bench.closed.get_nowait()
