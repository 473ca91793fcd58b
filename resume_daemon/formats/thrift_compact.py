"""Structures in Thrift's compact protocol, as values by field number: bounded, any schema.

Format: apache/thrift ``doc/specs/thrift-compact-protocol.md``.
"""

from __future__ import annotations

import struct
from typing import Any, Final

from resume_daemon.formats.inert_values import BeyondBoundError

MAX_DEPTH: Final = 24
MAX_VALUES: Final = 1_000_000
_MOST_FIELDS: Final = 1 << 15
_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = range(1, 13)
_LONG_LIST: Final = 15
_VARINT_BYTES: Final = 10


def read_struct(data: bytes, begin: int = 0) -> tuple[dict[int, Any], int]:
    """Return the structure that begins at an offset, and the offset after it.

    Booleans, whole numbers, floats and bytes are themselves; lists and sets are lists, maps lists
    of pairs, structures dicts by field number.

    Raises:
        BeyondBoundError: It holds more than is read.
        ValueError: It is cut short, no structure, or nested too deeply.
    """
    reader = _Reader(data, begin)
    try:
        return reader.struct(0), reader.position
    except (IndexError, struct.error):
        raise ValueError("it is cut short") from None


class _Reader:
    def __init__(self, data: bytes, position: int) -> None:
        self.data = data
        self.position = position
        self._left = MAX_VALUES

    def struct(self, depth: int) -> dict[int, Any]:
        fields: dict[int, Any] = {}
        number = 0
        while head := self._byte():
            kind, step = head & 0x0F, head >> 4
            number = number + step if step else self._zigzag()
            if not 0 <= number < _MOST_FIELDS or number in fields:
                raise ValueError(f"field {number} is damaged, or stands twice")
            if kind in {_TRUE, _FALSE}:
                # Alone in a field, a boolean is its own type.
                self._count()
                fields[number] = kind == _TRUE
            else:
                fields[number] = self._value(kind, depth)
        return fields

    def _value(self, kind: int, depth: int) -> Any:
        self._count()
        if depth > MAX_DEPTH:
            raise ValueError(f"it is nested deeper than {MAX_DEPTH} levels")
        if kind in {_TRUE, _FALSE}:
            return self._byte() == _TRUE
        if kind == _BYTE:
            return self._byte()
        if kind in {_I16, _I32, _I64}:
            return self._zigzag()
        if kind == _DOUBLE:
            return struct.unpack("<d", self._take(8))[0]
        if kind == _BINARY:
            return self._take(self._varint())
        if kind in {_LIST, _SET}:
            head = self._byte()
            count, inner = head >> 4, head & 0x0F
            count = self._varint() if count == _LONG_LIST else count
            return [self._value(inner, depth + 1) for _ in range(self._possible(count))]
        if kind == _MAP:
            count = self._possible(self._varint())
            kinds = self._byte() if count else 0
            return [
                (self._value(kinds >> 4, depth + 1), self._value(kinds & 0x0F, depth + 1))
                for _ in range(count)
            ]
        if kind == _STRUCT:
            return self.struct(depth + 1)
        raise ValueError(f"it holds a value of the unknown type {kind}")

    def _count(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise BeyondBoundError(f"it holds more than {MAX_VALUES} values")

    def _possible(self, count: int) -> int:
        """Return a count of values, each of which takes a byte at least."""
        if count > len(self.data) - self.position:
            raise ValueError("it is cut short")
        return count

    def _byte(self) -> int:
        value = self.data[self.position]
        self.position += 1
        return value

    def _take(self, size: int) -> bytes:
        if size > len(self.data) - self.position:
            raise ValueError("it is cut short")
        self.position += size
        return self.data[self.position - size : self.position]

    def _varint(self) -> int:
        value = 0
        for place in range(_VARINT_BYTES):
            byte = self._byte()
            value |= (byte & 0x7F) << (7 * place)
            if byte < 0x80:  # noqa: PLR2004 - the bit that says that more follows.
                return value
        raise ValueError("a whole number in it does not end")

    def _zigzag(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)
