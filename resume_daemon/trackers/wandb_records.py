"""The records of W&B's transaction log: protobuf bytes in, the few facts that are needed out.

Only the fields that drift needs are decoded, by walking the wire format: their numbers are part of
W&B's on-disk format (wandb/proto/wandb_internal.proto, the same from wandb 0.22.3 to 0.31.0), while
the generated module is reached only through ``import wandb``, which costs 0.3 s and 49 MiB, or
through stand-ins in ``sys.modules`` that would break a real import later. The walk is also faster:
it never builds the values of the other keys of a row.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

Number: TypeAlias = int | float


class WireError(ValueError):
    """The bytes of a record are no protobuf message, although their checksum holds."""


@dataclass(frozen=True, slots=True)
class HistoryRow:
    """One ``wandb.log`` call.

    Attributes:
        step: W&B's ``_step``; None in shared mode, where the backend assigns it.
        values: The numbers among the wanted keys.
    """

    step: int | None
    values: Mapping[str, Number]


@dataclass(frozen=True, slots=True)
class MetricDefinition:
    """One ``define_metric`` call; ``glob`` is empty where it names one metric.

    ``step_sync``: W&B inserts the last value of ``step_metric`` in every row that lacks it.
    """

    glob: str
    step_metric: str
    step_sync: bool


@dataclass(frozen=True, slots=True)
class RunRecord:
    """The run as the process that logs declared it.

    Attributes:
        branch_step: W&B step that the run was rewound to or forked from, or None.
        resume: Whether resuming was asked for (written since wandb 0.30).
        started_at: Seconds since the epoch, or 0.0.
    """

    branch_step: float | None
    resume: bool
    started_at: float


@dataclass(frozen=True, slots=True)
class ExitRecord:
    """The process finished its run in an orderly way: 0, or 255 after an exception or SIGINT."""

    exit_code: int


@dataclass(frozen=True, slots=True)
class HeaderRecord:
    """The first record: which wandb wrote the log, such as ``0.31.0``."""

    producer: str


Record: TypeAlias = HistoryRow | MetricDefinition | RunRecord | ExitRecord | HeaderRecord

# Wire types: 0 varint, 1 eight bytes, 2 length and bytes, 5 four bytes. A tag is field << 3 | type.
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

_NUMBERED = bytes([1 << 3 | _VARINT])
_SUMMARY = 3 << 3 | _BYTES
_HISTORY, _METRIC, _RUN, _EXIT, _HEADER = (n << 3 | _BYTES for n in (2, 12, 17, 18, 21))
_ITEM, _STEP = (n << 3 | _BYTES for n in (1, 2))
_KEY, _NESTED_KEY, _VALUE_JSON = (n << 3 | _BYTES for n in (1, 2, 16))
_INTEGER, _NUMBER = 5 << 3 | _VARINT, 6 << 3 | _FIXED64
_SEVEN_BITS, _MAX_BITS = 127, 64
_DOUBLE = struct.Struct("<d")
_INTEGER_DIGITS = 20


def decode_record(payload: bytes, wanted: Mapping[bytes, str]) -> Record | None:
    """Return what a record says, or None for a kind that nobody here asks about.

    Args:
        payload: One record of the log.
        wanted: Keys of history values to decode, as UTF-8 and as text; ``_step`` needs no entry.

    Raises:
        WireError: The bytes are no message.
    """
    try:
        position = 0
        if payload[:1] == _NUMBERED:
            # Record.num comes first, always; half of all records end here.
            _, position = _varint(payload, 1)
            if payload[position] == _SUMMARY:
                return None
        for tag, start, end in walk(payload, position, len(payload)):
            if tag == _HISTORY:
                return _history(payload, start, end, wanted)
            if tag in _DECODERS:
                return _DECODERS[tag](payload, start, end)
    except (IndexError, struct.error) as error:
        raise WireError("a message ends in the middle of a field") from error
    return None


def walk(data: bytes, position: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield the fields of a message: tag, then start and end of its bytes, or a varint and 0."""
    while position < end:
        tag = data[position]
        position += 1
        if tag > _SEVEN_BITS:
            tag, position = _varint(data, position - 1)
        wire = tag & 7
        if wire == _BYTES:
            length = data[position]
            position += 1
            if length > _SEVEN_BITS:
                length, position = _varint(data, position - 1)
            after = position + length
            if after > end:
                raise WireError("a field is longer than its message")
            yield tag, position, after
            position = after
        elif wire == _VARINT:
            value, position = _varint(data, position)
            yield tag, value, 0
        elif wire in {_FIXED64, _FIXED32}:
            after = position + (8 if wire == _FIXED64 else 4)
            if after > end:
                raise WireError("a field is longer than its message")
            yield tag, position, after
            position = after
        else:
            raise WireError(f"wire type {wire} is not in use")


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & _SEVEN_BITS) << shift
        if byte <= _SEVEN_BITS:
            return value, position
        shift += 7
        if shift >= _MAX_BITS:
            raise WireError("a number has more than 64 bits")


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


def _history(data: bytes, start: int, end: int, wanted: Mapping[bytes, str]) -> HistoryRow:
    """Decode a row; this runs once per row, so it steps over the other keys' items unseen."""
    values: dict[str, Number] = {}
    step: int | None = None
    position = start
    while position < end and data[position] == _ITEM:
        length = data[position + 1]
        position += 2
        if length > _SEVEN_BITS:
            length, position = _varint(data, position - 1)
        # An item begins with its key: fields are written in the order of their numbers. A flat key
        # is written as a nested key of one part by every version tested, as a key by older ones.
        key = data[position + 2 : position + 2 + data[position + 1]]
        if key == b"_step" or key in wanted:
            number = _item(data, position, min(position + length, end))
            if number is not None and key == b"_step":
                step = whole_number(number)
            elif number is not None:
                values[wanted[key]] = number
        position += length
    if position > end:
        raise WireError("an item is longer than its row")
    for tag, first, after in walk(data, position, end):
        if tag == _STEP and step is None:
            step = 0  # HistoryStep.num is left out where it is 0.
            for field, value, _ in walk(data, first, after):
                if field == 1 << 3 | _VARINT:
                    step = _signed(value)
    return HistoryRow(step, values)


def _item(data: bytes, start: int, end: int) -> Number | None:
    """Return the value of a history item with a flat key, where it is a number.

    Since wandb 0.31 it may be typed (``WANDB__HISTORY_VALUE_ENCODING``), beside JSON or alone.
    """
    parts = 0
    number: Number | None = None
    for tag, first, after in walk(data, start, end):
        if tag in {_KEY, _NESTED_KEY}:
            parts += 1
        elif tag == _VALUE_JSON:
            number = _json_number(data[first:after])
        elif tag == _INTEGER:
            number = (first >> 1) ^ -(first & 1)
        elif tag == _NUMBER:
            number = float(_DOUBLE.unpack_from(data, first)[0])
    return number if parts == 1 else None


def whole_number(number: Number) -> int | None:
    """Return the integer that a number is, or None for a fraction, NaN, infinity or 64 bits."""
    if isinstance(number, float) and not number.is_integer():
        return None
    return int(number) if abs(number) < 1 << 63 else None


def _json_number(text: bytes) -> Number | None:
    """Return the number that a JSON text is, with Python's NaN and Infinity; None for others."""
    try:
        return int(text) if len(text) <= _INTEGER_DIGITS else float(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        return None


def _metric(data: bytes, start: int, end: int) -> MetricDefinition:
    glob = step_metric = ""
    step_sync = False
    for tag, first, after in walk(data, start, end):
        if tag == 2 << 3 | _BYTES:
            glob = data[first:after].decode(errors="replace")
        elif tag == 4 << 3 | _BYTES:
            step_metric = data[first:after].decode(errors="replace")
        elif tag == 6 << 3 | _BYTES:
            for field, value, _ in walk(data, first, after):
                if field == 1 << 3 | _VARINT:
                    step_sync = bool(value)
    return MetricDefinition(glob, step_metric, step_sync)


def _run(data: bytes, start: int, end: int) -> RunRecord:
    branch_step: float | None = None
    resume = False
    started_at = 0.0
    for tag, first, after in walk(data, start, end):
        if tag == 17 << 3 | _BYTES:
            for field, value, _ in walk(data, first, after):
                if field == 1 << 3 | _VARINT:
                    started_at += _signed(value)
                elif field == 2 << 3 | _VARINT:
                    started_at += _signed(value) / 1e9
        elif tag == 23 << 3 | _BYTES:
            branch_step = 0.0
            for field, value, _ in walk(data, first, after):
                if field == 2 << 3 | _FIXED64:
                    branch_step = float(_DOUBLE.unpack_from(data, value)[0])
        elif tag == 24 << 3 | _VARINT:
            resume = bool(first)
    return RunRecord(branch_step, resume, started_at)


def _exit(data: bytes, start: int, end: int) -> ExitRecord:
    exit_code = 0
    for tag, first, _ in walk(data, start, end):
        if tag == 1 << 3 | _VARINT:
            exit_code = _signed(first)
    return ExitRecord(exit_code)


def _header(data: bytes, start: int, end: int) -> HeaderRecord:
    producer = ""
    for tag, first, after in walk(data, start, end):
        if tag == _ITEM:
            for field, begin, stop in walk(data, first, after):
                if field == _ITEM:
                    producer = data[begin:stop].decode(errors="replace").partition("+")[0]
    return HeaderRecord(producer)


_DECODERS: dict[int, Callable[[bytes, int, int], Record]] = {
    _METRIC: _metric,
    _RUN: _run,
    _EXIT: _exit,
    _HEADER: _header,
}
