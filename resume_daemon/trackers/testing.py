"""Writing W&B logs as wandb-core does, for tests, benchmarks and demonstrations.

The records have the fields of wandb 0.31 that ``wandb_records`` reads, and no others.
"""

from __future__ import annotations

import json
import struct
import zlib
from typing import TYPE_CHECKING

from resume_daemon.trackers.wandb_log import BLOCK, HEADER

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

_CHUNK = struct.Struct("<IHB")


def encode_log(records: Iterable[bytes]) -> bytes:
    """Return a whole log with these records."""
    pieces = [HEADER]
    position = len(HEADER)
    for record in records:
        framed = frame(record, position)
        position += len(framed)
        pieces.append(framed)
    return b"".join(pieces)


def frame(record: bytes, position: int) -> bytes:
    """Return the bytes that append a record to a log of ``position`` bytes."""
    pieces: list[bytes] = []
    begun = False
    while True:
        left = BLOCK - position % BLOCK
        if left < _CHUNK.size:
            pieces.append(bytes(left))
            position += left
            continue
        chunk, record = record[: left - _CHUNK.size], record[left - _CHUNK.size :]
        # 1 full, 2 first, 3 middle, 4 last.
        kind = (3 if record else 4) if begun else (2 if record else 1)
        checksum = zlib.crc32(bytes([kind]) + chunk)
        pieces.append(_CHUNK.pack(checksum, len(chunk), kind) + chunk)
        position += len(pieces[-1])
        begun = True
        if not record:
            return b"".join(pieces)


def write_segment(
    wandb_directory: Path, records: Iterable[bytes], *, name: str, run_id: str
) -> Path:
    """Write a segment called ``name`` with these records in its log, and return its directory."""
    directory = wandb_directory / name
    directory.mkdir(parents=True, exist_ok=True)
    (directory / f"run-{run_id}.wandb").write_bytes(encode_log(records))
    return directory


def history(step: int | None, values: Mapping[str, object]) -> bytes:
    """Return the record of one row; ``step`` None is shared mode."""
    items = dict(values) if step is None else {**values, "_step": step}
    row = b"".join(_bytes(1, _item(key, value)) for key, value in items.items())
    if step is not None:
        row += _bytes(2, _varint(1, step) if step else b"")
    return _record(2, row)


def summary(values: Mapping[str, object]) -> bytes:
    """Return the record of the summary that goes with a row."""
    return _record(3, b"".join(_bytes(1, _item(key, value)) for key, value in values.items()))


def metric(glob: str, step_metric: str, *, step_sync: bool = True) -> bytes:
    """Return the record of ``define_metric(glob, step_metric, step_sync)``."""
    options = _varint(1, 1) if step_sync else b""
    return _record(12, _text(2, glob) + _text(4, step_metric) + _bytes(6, options))


def run(run_id: str, *, branch_step: int | None = None) -> bytes:
    """Return the record that declares a run; ``branch_step`` is where it was rewound to."""
    branch = b""
    if branch_step is not None:
        point = _text(1, run_id) + b"\x11" + struct.pack("<d", branch_step) + _text(3, "_step")
        branch = _bytes(23, point)
    return _record(17, _text(1, run_id) + _bytes(17, _varint(1, 1_700_000_000)) + branch)


def finish(exit_code: int = 0) -> bytes:
    """Return the record of an orderly end."""
    return _record(18, _varint(1, exit_code) if exit_code else b"")


def header(producer: str = "0.31.0") -> bytes:
    """Return the first record of a log."""
    return _record(21, _bytes(1, _text(1, f"{producer}+0123456789abcdef")))


def _record(field: int, message: bytes) -> bytes:
    return _varint(1, 1) + _bytes(field, message)


def _item(key: str, value: object) -> bytes:
    return _text(2, key) + _text(16, json.dumps(value))


def _text(field: int, text: str) -> bytes:
    return _bytes(field, text.encode())


def _bytes(field: int, content: bytes) -> bytes:
    return _number(field << 3 | 2) + _number(len(content)) + content


def _varint(field: int, value: int) -> bytes:
    return _number(field << 3) + _number(value)


def _number(value: int) -> bytes:
    out = bytearray()
    while value > 127:  # noqa: PLR2004 - seven bits go into each byte of a varint.
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)
