"""Parquet files, made without a library: column data that nobody looks at, and a footer."""

from __future__ import annotations

from typing import Any

DATA = bytes(range(100))


def varint(value: int) -> bytes:
    pieces = []
    while value > 0x7F:
        pieces.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*pieces, value])


def thrift(value: Any) -> tuple[int, bytes]:
    """Return the type and the bytes of a value in Thrift's compact protocol."""
    match value:
        case bool():
            return 2 - value, b""
        case int():
            return 6, varint(value << 1 if value >= 0 else (-value << 1) - 1)
        case bytes():
            return 8, varint(len(value)) + value
        case list():
            kinds = [thrift(each) for each in value] or [(12, b"")]
            head = bytes([min(len(value), 15) << 4 | kinds[0][0]])
            head += varint(len(value)) if len(value) >= 15 else b""
            return 9, head + b"".join(content for _, content in kinds) * bool(value)
        case _:
            return 12, structure(value)


def structure(fields: dict[int, Any]) -> bytes:
    pieces, before = [], 0
    for number, value in sorted(fields.items()):
        kind, content = thrift(value)
        step = number - before
        pieces += [bytes([step << 4 | kind])] if step < 16 else [bytes([kind]), varint(number << 1)]
        pieces.append(content)
        before = number
    return b"".join([*pieces, b"\0"])


def footer(*, begin: int = 4, size: int = 100, rows: int = 10, **more: int) -> dict[int, Any]:
    meta = {1: 1, 3: [b"a"], 5: 10, 7: size, 9: begin}
    if dictionary := more.get("dictionary"):
        meta[11] = dictionary
    return {
        1: 2,
        2: [{4: b"schema", 5: 1}, {1: 1, 4: b"a"}],
        3: rows,
        4: [{1: [{2: 0, 3: meta}], 2: 100, 3: 10}],
        6: b"a writer",
    }


def parquet_file(fields: dict[int, Any]) -> bytes:
    """Return a file with a footer of these fields, by their numbers in ``parquet.thrift``."""
    raw = structure(fields)
    return b"PAR1" + DATA + raw + len(raw).to_bytes(4, "little") + b"PAR1"
