from __future__ import annotations

import json
import math
import struct
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resume_daemon.trackers import testing
from resume_daemon.trackers.wandb_log import read_log
from resume_daemon.trackers.wandb_records import (
    ExitRecord,
    HeaderRecord,
    HistoryRow,
    MetricDefinition,
    RunRecord,
    WireError,
    decode_record,
    whole_number,
)

if TYPE_CHECKING:
    from pathlib import Path

KEY = "train/global_step"
WANTED = {KEY.encode(): KEY, b"train/loss": "train/loss"}


def record(body: bytes) -> bytes:
    """A history record: num 1, then the row."""
    return b"\x08\x01\x12" + bytes([len(body)]) + body


def item(key_tag: int, key: bytes, rest: bytes) -> bytes:
    inner = bytes([key_tag, len(key)]) + key + rest
    return b"\x0a" + bytes([len(inner)]) + inner


def json_value(text: bytes) -> bytes:
    return b"\x82\x01" + bytes([len(text)]) + text


def test_a_real_log_is_decoded_as_wandbs_own_protobuf_decodes_it(
    real_wandb_run: tuple[Path, list[dict[str, Any]]],
) -> None:
    log, expected = real_wandb_run
    wanted = {key.encode(): key for key in (KEY, "train/loss", "profiling/time")}
    found: list[dict[str, Any]] = []
    for payload, _ in read_log(log).records:
        match decode_record(payload, wanted):
            case HistoryRow(step, values):
                shown = {key: repr(float(value)) for key, value in sorted(values.items())}
                found.append({"kind": "history", "step": step, "values": shown})
            case MetricDefinition(glob, step_metric, step_sync):
                found.append({"kind": "metric", "metric": [glob, step_metric, step_sync]})
            case RunRecord(branch_step, resume, started_at):
                found.append({"kind": "run", "run": [branch_step, resume, round(started_at, 3)]})
            case ExitRecord(exit_code):
                found.append({"kind": "exit", "code": exit_code})
            case HeaderRecord(producer):
                found.append({"kind": "header", "producer": producer})
    assert found == expected
    assert sum(each["kind"] == "history" for each in found) > 60
    assert {each["kind"] for each in found} == {"history", "metric", "run", "exit", "header"}


@pytest.mark.parametrize("key_tag", [0x0A, 0x12])
def test_a_flat_key_is_read_from_key_and_from_nested_key(key_tag: int) -> None:
    row = record(item(key_tag, KEY.encode(), json_value(b"7")) + b"\x12\x02\x08\x09")
    assert decode_record(row, WANTED) == HistoryRow(9, {KEY: 7})


def test_a_dict_whose_first_level_has_the_name_is_another_key() -> None:
    nested = item(0x12, KEY.encode(), b"\x12\x04size" + json_value(b"7"))
    assert decode_record(record(nested + b"\x12\x00"), WANTED) == HistoryRow(0, {})


def test_typed_values_are_read_where_json_is_missing() -> None:
    integer = item(0x12, KEY.encode(), b"\x28\x0e")
    number = item(0x12, b"train/loss", b"\x31" + struct.pack("<d", 0.25))
    step = item(0x12, b"_step", b"\x28\x06")
    row = decode_record(record(integer + number + step), WANTED)
    assert row == HistoryRow(3, {KEY: 7, "train/loss": 0.25})


@pytest.mark.parametrize(
    ("text", "number"),
    [
        (b"1", 1),
        (b"1e+02", 100.0),
        (b"-2.5", -2.5),
        (b"Infinity", math.inf),
        (b"-Infinity", -math.inf),
    ],
)
def test_numbers_are_read_in_every_form(text: bytes, number: float) -> None:
    row = decode_record(record(item(0x12, b"train/loss", json_value(text))), WANTED)
    assert row == HistoryRow(None, {"train/loss": number})


def test_nan_is_a_value() -> None:
    row = decode_record(record(item(0x12, b"train/loss", json_value(b"NaN"))), WANTED)
    assert isinstance(row, HistoryRow)
    assert math.isnan(row.values["train/loss"])


@pytest.mark.parametrize("text", [b'"7"', b"null", b"true", b"{}", b"[7]", b""])
def test_what_is_no_number_is_no_value(text: bytes) -> None:
    row = decode_record(record(item(0x12, KEY.encode(), json_value(text))), WANTED)
    assert row == HistoryRow(None, {})


def test_a_value_that_spells_the_key_is_not_the_key() -> None:
    text = json_value(json.dumps("\x12\x11train/global_step").encode())
    assert decode_record(record(item(0x12, b"note", text)), WANTED) == HistoryRow(None, {})


def test_the_step_is_an_item_or_a_message_that_leaves_out_0() -> None:
    step_item = item(0x12, b"_step", json_value(b"5"))
    assert decode_record(record(step_item), WANTED) == HistoryRow(5, {})
    assert decode_record(record(b"\x12\x02\x08\x05"), WANTED) == HistoryRow(5, {})
    assert decode_record(record(b"\x12\x00"), WANTED) == HistoryRow(0, {})


def test_shared_mode_has_no_step() -> None:
    row = decode_record(testing.history(None, {KEY: 7}), WANTED)
    assert row == HistoryRow(None, {KEY: 7})


def test_the_other_records_say_what_they_say() -> None:
    assert decode_record(testing.header("0.30.0"), {}) == HeaderRecord("0.30.0")
    assert decode_record(testing.finish(255), {}) == ExitRecord(255)
    assert decode_record(testing.finish(), {}) == ExitRecord(0)
    assert decode_record(testing.metric("*", KEY), {}) == MetricDefinition("*", KEY, step_sync=True)
    assert decode_record(testing.run("r"), {}) == RunRecord(None, resume=False, started_at=1.7e9)
    branched = decode_record(testing.run("r", branch_step=99), {})
    assert isinstance(branched, RunRecord)
    assert branched.branch_step == 99
    assert decode_record(testing.summary({KEY: 1}), WANTED) is None


@given(st.binary(max_size=200))
def test_any_bytes_are_a_record_or_a_wire_error(payload: bytes) -> None:
    for prefix in (b"", b"\x08\x01\x12", b"\x12\x10\x0a", b"\x8a\x01"):
        try:
            decode_record(prefix + payload, WANTED)
        except WireError:
            continue


@given(st.integers(0, 300))
def test_a_row_that_is_cut_short_is_a_wire_error(cut: int) -> None:
    whole = testing.history(5, {KEY: 7, "train/loss": 0.5, "note": "x" * 150})
    if cut < len(whole):
        with pytest.raises(WireError):
            decode_record(whole[: max(cut, 3)], WANTED)


def test_a_step_is_a_whole_number_of_64_bits() -> None:
    assert whole_number(3.0) == 3
    assert whole_number(3) == 3
    for other in (3.5, math.nan, math.inf, 2.0**70, 2**70):
        assert whole_number(other) is None
