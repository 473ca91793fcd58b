from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resume_daemon.alerting.conditions import (
    Firing,
    Flip,
    State,
    as_record,
    flips,
    from_record,
    record_kind,
)
from resume_daemon.conditions import Condition
from resume_daemon.errors import LedgerError
from resume_daemon.findings import Severity

T0 = datetime(2025, 6, 12, 17, 56, 57, tzinfo=UTC)
LATER = T0 + timedelta(hours=2)


def condition(
    key: str = "wandb-drift:r1:s1",
    *,
    severity: Severity = Severity.ERROR,
    message: str = "50 steps apart",
    code: str = "RD601",
) -> Condition:
    return Condition(key, code, severity, message)


def firing(*conditions: Condition) -> dict[str, Firing]:
    return {found.key: Firing(found, T0) for found in conditions}


def test_a_condition_that_appears_fires() -> None:
    found = condition()
    assert flips({}, [found], T0) == (Flip(found, State.FIRING, since=T0, at=T0),)
    assert flips({}, [found], T0)[0].lasted is None


def test_a_condition_that_stays_does_not_fire_again_however_its_message_changes() -> None:
    changed = condition(message="100 steps apart", severity=Severity.WARNING)
    assert flips(firing(condition()), [changed], LATER) == ()


def test_a_condition_that_is_gone_resolves_as_it_fired_and_says_how_long_it_lasted() -> None:
    (flip,) = flips(firing(condition()), [], LATER)
    assert flip == Flip(condition(), State.RESOLVED, since=T0, at=LATER)
    assert flip.lasted == timedelta(hours=2)


def test_of_two_conditions_with_one_key_the_graver_wins() -> None:
    mild = condition(severity=Severity.INFO, message="mild")
    grave = condition(severity=Severity.ERROR, message="grave")
    (flip,) = flips({}, [mild, grave], T0)
    assert flip.condition is grave


def test_the_gravest_is_told_first_and_what_ended_last() -> None:
    old = condition("old")
    note = condition("note", severity=Severity.INFO)
    error = condition("error", severity=Severity.ERROR)
    told = [flip.condition.key for flip in flips(firing(old), [note, error], LATER)]
    assert told == ["error", "note", "old"]


def test_absence_resolves_only_what_was_evaluated() -> None:
    known = firing(condition("wandb-drift:r1:s1"), condition("disk-full"))
    resolved = flips(known, [], LATER, evaluated=["disk-"])
    assert [flip.condition.key for flip in resolved] == ["disk-full"]
    assert flips(known, [], LATER, evaluated=[]) == ()


def test_a_condition_that_is_present_fires_even_outside_of_what_was_evaluated() -> None:
    assert len(flips({}, [condition()], T0, evaluated=[])) == 1


def test_a_clock_that_is_set_back_makes_no_negative_duration() -> None:
    (flip,) = flips(firing(condition()), [], T0 - timedelta(days=1))
    assert flip.lasted == timedelta(0)


@pytest.mark.parametrize(
    ("code", "kind"),
    [("RD101", "condition"), ("RD501", "drift"), ("RD699", "drift"), ("RD701", "condition")],
)
def test_tracker_and_curriculum_conditions_are_written_as_drift(code: str, kind: str) -> None:
    assert record_kind(condition(code=code)) == kind


def test_a_record_has_the_promised_keys() -> None:
    (flip,) = flips(firing(condition()), [], LATER)
    assert as_record(flip, ["ops"]) == {
        "condition": "wandb-drift:r1:s1",
        "state": "resolved",
        "code": "RD601",
        "severity": "error",
        "message": "50 steps apart",
        "checkpoint": None,
        "tracker_step": None,
        "trainer_step": None,
        "offset": None,
        "drift": None,
        "since": "2025-06-12T17:56:57.000000Z",
        "lasted_seconds": 7200.0,
        "sinks": ["ops"],
    }


steps = st.none() | st.integers(-(2**53), 2**53)
moments = st.datetimes(
    min_value=datetime(1970, 1, 2),  # noqa: DTZ001 - hypothesis adds the zone
    max_value=datetime(2200, 1, 1),  # noqa: DTZ001 - as above
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=-7))]),
)


@given(
    found=st.builds(
        Condition,
        key=st.text(),
        code=st.sampled_from(["RD101", "RD601"]),
        severity=st.sampled_from(Severity),
        message=st.text(),
        checkpoint=st.none() | st.text(),
        tracker_step=steps,
        trainer_step=steps,
        offset=steps,
        drift=steps,
    ),
    since=moments,
    lasted=st.none() | st.timedeltas(timedelta(0), timedelta(days=3650)),
)
def test_a_flip_survives_the_ledger_exactly(
    found: Condition, since: datetime, lasted: timedelta | None
) -> None:
    if lasted is None:
        flip = Flip(found, State.FIRING, since=since, at=since)
    else:
        flip = Flip(found, State.RESOLVED, since=since, at=since + lasted)
    assert from_record(json.loads(json.dumps(as_record(flip, [])))) == flip


@pytest.mark.parametrize(
    "change",
    [
        {"state": "burning"},
        {"severity": "fatal"},
        {"since": "yesterday"},
        {"since": None},
        {"state": "resolved", "lasted_seconds": None},
        {"state": "resolved", "lasted_seconds": float("nan")},
        {"state": "resolved", "lasted_seconds": 1e300},
        {"tracker_step": "many"},
    ],
)
def test_a_record_that_is_no_flip_is_an_error_of_the_ledger(change: dict[str, object]) -> None:
    good = as_record(Flip(condition(), State.FIRING, since=T0, at=T0), [])
    with pytest.raises(LedgerError, match="read a condition from the ledger"):
        from_record(good | change)


def test_a_record_without_a_field_is_an_error_of_the_ledger() -> None:
    good = as_record(Flip(condition(), State.FIRING, since=T0, at=T0), [])
    del good["message"]
    with pytest.raises(LedgerError, match="message"):
        from_record(good)
