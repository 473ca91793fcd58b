from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resume_daemon.alerting.conditions import as_record, flips, record_kind
from resume_daemon.alerting.outbox import Alert, Closed, Outbox
from resume_daemon.alerting.retry import Delivered, Failed, decide
from resume_daemon.alerting.sinks import Outcome
from resume_daemon.alerting.sinks.memory import MemorySink
from resume_daemon.conditions import Condition
from resume_daemon.errors import LedgerError
from resume_daemon.findings import Severity

T0 = datetime(2025, 6, 12, tzinfo=UTC)


def condition(key: str) -> Condition:
    return Condition(key, "RD601", Severity.ERROR, f"{key} is wrong", tracker_step=100, drift=50)


@dataclass
class _Daemon:
    """A ledger, the outbox over it, and the one writer: the part of the main loop at issue here."""

    sinks: tuple[str, ...] = ("a",)
    capacity: int = 1000
    records: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)
    now: datetime = T0

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        self.outbox = Outbox("run", "host", capacity=self.capacity)
        for record in self.records:
            self.outbox.apply(*record)

    def write(self, kind: str, fields: dict[str, Any]) -> None:
        line = json.dumps([len(self.records), kind, fields])
        self.records.append((kind, hashlib.sha256(line.encode()).hexdigest(), fields))
        self.outbox.apply(*self.records[-1])

    def look(self, *keys: str) -> None:
        self.now += timedelta(minutes=1)
        for flip in flips(self.outbox.firing, map(condition, keys), self.now):
            self.write(record_kind(flip.condition), as_record(flip, self.sinks))

    def close(self, alert: Alert, outcome: Literal["delivered", "failed"] = "delivered") -> None:
        self.write("alert", Closed(alert, outcome).as_record())

    def told(self) -> list[str]:
        return [
            f"{alert.sink}:{alert.flip.condition.key}:{alert.flip.state}"
            for alert in self.outbox.pending()
        ]


def test_a_flip_is_owed_to_every_sink_that_its_record_names() -> None:
    daemon = _Daemon(("a", "b"))
    daemon.look("x")
    assert daemon.told() == ["a:x:firing", "b:x:firing"]


def test_an_alert_record_closes_one_sink_and_no_other() -> None:
    daemon = _Daemon(("a", "b"))
    daemon.look("x")
    daemon.close(daemon.outbox.pending()[0])
    assert daemon.told() == ["b:x:firing"]


def test_a_failed_alert_is_closed_too() -> None:
    daemon = _Daemon()
    daemon.look("x")
    daemon.close(daemon.outbox.pending()[0], "failed")
    assert daemon.told() == []


def test_what_fired_and_resolved_during_an_outage_is_told_in_order_as_two_messages() -> None:
    daemon = _Daemon()
    daemon.look("x")
    daemon.look()
    daemon.look("x")
    assert daemon.told() == ["a:x:firing", "a:x:resolved", "a:x:firing"]


def test_the_id_is_the_same_after_a_restart_and_differs_between_flips() -> None:
    daemon = _Daemon()
    daemon.look("x")
    daemon.look()
    before = daemon.outbox.pending()
    daemon.restart()
    assert daemon.outbox.pending() == before
    assert before[0].id == f"msg_{daemon.records[0][1][:32]}"
    assert before[0].id != before[1].id


def test_a_digest_may_carry_the_name_of_its_algorithm() -> None:
    daemon = _Daemon()
    daemon.look("x")
    kind, digest, fields = daemon.records[0]
    outbox = Outbox("run", "host")
    outbox.apply(kind, f"blake3:{digest}", fields)
    assert outbox.pending()[0].id == daemon.outbox.pending()[0].id


def test_what_is_no_digest_is_refused() -> None:
    daemon = _Daemon()
    daemon.look("x")
    kind, _, fields = daemon.records[0]
    with pytest.raises(LedgerError, match="no digest"):
        Outbox("run", "host").apply(kind, "12345", fields)


def test_records_of_other_kinds_are_ignored() -> None:
    outbox = Outbox("run", "host")
    outbox.apply("verdict", "x", {"checkpoint": "checkpoint-1"})
    outbox.apply("alert", "x", {"id": "msg_unknown", "sink": "a"})
    assert outbox.pending() == ()


def test_what_fires_is_known_again_after_a_restart_and_fires_no_second_time() -> None:
    daemon = _Daemon()
    daemon.look("x")
    daemon.restart()
    daemon.look("x")
    assert set(daemon.outbox.firing) == {"x"}
    assert daemon.told() == ["a:x:firing"]


def test_the_body_has_the_promised_shape() -> None:
    daemon = _Daemon()
    daemon.look("x")
    daemon.look()
    alert = daemon.outbox.pending()[1]
    assert alert.as_json() == {
        "schema": 1,
        "type": "condition.resolved",
        "id": alert.id,
        "at": "2025-06-12T00:02:00.000000Z",
        "run": "run",
        "host": "host",
        "condition": {
            "key": "x",
            "code": "RD601",
            "severity": "error",
            "message": "x is wrong",
            "checkpoint": None,
            "tracker_step": 100,
            "trainer_step": None,
            "offset": None,
            "drift": 50,
        },
        "since": "2025-06-12T00:01:00.000000Z",
        "lasted_seconds": 60.0,
    }


def test_a_file_name_that_is_no_text_still_makes_a_body_that_can_be_sent() -> None:
    daemon = _Daemon()
    daemon.look("key of checkpoint-\udcff")
    (alert,) = daemon.outbox.pending()
    assert b"checkpoint-?" in MemorySink().render(alert).body


def test_an_alert_for_a_sink_that_is_configured_no_more_is_given_up_aloud() -> None:
    daemon = _Daemon(("a", "removed"))
    daemon.look("x")
    (given_up,) = daemon.outbox.unsendable({"a"})
    assert given_up.as_record() == {
        "id": daemon.outbox.pending()[0].id,
        "condition": "x",
        "state": "firing",
        "sink": "removed",
        "outcome": "failed",
        "reason": "no sink of this name is configured any more",
    }
    daemon.write("alert", given_up.as_record())
    assert daemon.told() == ["a:x:firing"]


def test_above_the_capacity_news_that_is_over_is_given_up_before_what_still_fires() -> None:
    daemon = _Daemon(capacity=3)
    daemon.look("stays")
    daemon.look("stays", "flaps")
    daemon.look("stays")
    daemon.look("stays", "flaps")
    given_up = daemon.outbox.unsendable({"a"})
    assert [closed.alert.flip.condition.key for closed in given_up] == ["flaps"]
    for closed in given_up:
        daemon.write("alert", closed.as_record())
    assert daemon.told() == ["a:stays:firing", "a:flaps:resolved", "a:flaps:firing"]
    assert daemon.outbox.unsendable({"a"}) == ()


looks = st.tuples(st.just("look"), st.sets(st.sampled_from("xyz")))
attempts = st.tuples(
    st.sampled_from(["send", "send and crash"]),
    st.tuples(st.sampled_from("ab"), st.sampled_from([200, 429, 500, 404, None])),
)
restarts = st.tuples(st.just("restart"), st.none())


@given(st.lists(st.one_of(looks, attempts, restarts), max_size=40))
def test_whatever_crashes_every_flip_reaches_every_sink_or_is_recorded_as_failed(
    events: list[tuple[str, Any]],
) -> None:
    daemon = _Daemon(("a", "b"))
    arrived: dict[str, list[str]] = {"a": [], "b": []}

    def attempt(name: str, status: int | None, *, crash: bool) -> None:
        alert = next((alert for alert in daemon.outbox.pending() if alert.sink == name), None)
        if alert is None:
            return
        outcome = Outcome(status)
        sent = MemorySink(name).render(alert)
        if status == 200:
            arrived[name].append(json.loads(sent.body)["id"])
        step = decide(outcome, 1, daemon.now)
        if crash:
            daemon.restart()
        elif isinstance(step, Delivered):
            daemon.close(alert)
        elif isinstance(step, Failed):
            daemon.close(alert, "failed")

    for event, value in events:
        if event == "look":
            daemon.look(*value)
            assert set(daemon.outbox.firing) == value
        elif event == "restart":
            daemon.restart()
        else:
            attempt(*value, crash=event == "send and crash")
    daemon.restart()
    for name in arrived:
        while any(alert.sink == name for alert in daemon.outbox.pending()):
            attempt(name, 200, crash=False)

    flip_ids = [f"msg_{digest[:32]}" for kind, digest, _ in daemon.records if kind == "drift"]
    assert len(set(flip_ids)) == len(flip_ids)
    for name, ids in arrived.items():
        failed = {
            fields["id"]
            for kind, _, fields in daemon.records
            if kind == "alert" and fields["sink"] == name and fields["outcome"] == "failed"
        }
        assert set(ids) | failed == set(flip_ids)
        first_arrivals = list(dict.fromkeys(ids))
        assert first_arrivals == [flip_id for flip_id in flip_ids if flip_id in ids]
