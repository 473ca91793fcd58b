from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from blake3 import blake3
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resume_daemon.errors import LedgerError
from resume_daemon.ledger.record import FIRST_PREV, MAX_RECORD_BYTES, decode, encode

# A busy machine is no failure: how long an example takes is not what is claimed here.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

AT = datetime(2026, 3, 4, 5, 6, 7, 80, tzinfo=UTC)

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
values = st.recursive(
    scalars.filter(lambda v: not (isinstance(v, float) and math.isinf(v))),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
fields = st.dictionaries(st.text().map(lambda key: f"x{key}"), values, max_size=4)


@unhurried
@given(st.integers(min_value=1), st.text(), st.text(), fields)
def test_a_decoded_record_has_what_was_encoded(
    seq: int, kind: str, run: str, given_fields: dict[str, Any]
) -> None:
    line = encode(seq, AT, kind, run, FIRST_PREV, given_fields)
    record = decode(line)
    assert (record.seq, record.at, record.kind, record.run) == (seq, AT, kind, run)
    assert record.prev == FIRST_PREV
    assert record.fields == given_fields
    assert line.count(b"\n") == 1


def test_common_keys_come_first_then_the_fields_sorted_then_the_check() -> None:
    line = encode(7, AT, "daemon", "r", FIRST_PREV, {"z": 1, "a": {"d": 1, "c": 2}})
    assert list(json.loads(line)) == ["seq", "at", "kind", "run", "prev", "a", "z", "check"]
    assert b'"a":{"c":2,"d":1}' in line


def test_time_is_utc_with_microseconds_and_a_z() -> None:
    elsewhere = AT.astimezone(timezone(timedelta(hours=-5)))
    line = encode(1, elsewhere, "daemon", "r", FIRST_PREV, {})
    assert json.loads(line)["at"] == "2026-03-04T05:06:07.000080Z"


def test_digest_is_blake3_of_the_line_without_its_newline() -> None:
    line = encode(1, AT, "daemon", "r", FIRST_PREV, {"event": "started"})
    assert decode(line).digest == blake3(line[:-1]).hexdigest()
    assert decode(line[:-1]) == decode(line)


@pytest.mark.parametrize("value", [math.nan, math.inf, object(), {1, 2}])
def test_what_is_no_json_is_refused(value: object) -> None:
    with pytest.raises(LedgerError, match="no JSON"):
        encode(1, AT, "pair", "r", FIRST_PREV, {"tracker_step": value})


@pytest.mark.parametrize("key", ["seq", "at", "kind", "run", "prev", "check"])
def test_a_field_cannot_pose_as_a_common_key(key: str) -> None:
    with pytest.raises(LedgerError, match=key):
        encode(1, AT, "pair", "r", FIRST_PREV, {key: "x"})


def test_a_file_name_that_is_no_utf8_survives() -> None:
    name = b"checkpoint-\xff".decode("utf-8", "surrogateescape")
    line = encode(1, AT, "verdict", "r", FIRST_PREV, {"checkpoint": name})
    assert decode(line).fields["checkpoint"] == name


def test_a_record_too_large_is_neither_written_nor_read() -> None:
    with pytest.raises(LedgerError, match="bytes"):
        encode(1, AT, "pair", "r", FIRST_PREV, {"x": "y" * MAX_RECORD_BYTES})
    with pytest.raises(LedgerError, match="more than"):
        decode(b"x" * (MAX_RECORD_BYTES + 1))


@unhurried
@given(st.binary(max_size=200))
def test_bytes_that_are_no_record_raise_a_ledger_error_and_nothing_else(line: bytes) -> None:
    with pytest.raises(LedgerError):
        decode(line)


def test_a_record_that_another_program_checked_correctly_must_still_have_the_common_keys() -> None:
    body = b'{"seq":"1","at":"2026-01-01T00:00:00Z","kind":"k","run":"r","prev":""'
    for changed in (body, b'{"seq":1', b'{"a":' + b"[" * 5000):
        check = blake3(changed).hexdigest()[:16].encode()
        with pytest.raises(LedgerError):
            decode(changed + b',"check":"' + check + b'"}')
