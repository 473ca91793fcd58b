"""CRC-32 of a record whose parts were read by different workers."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_POLYNOMIAL = 0xEDB88320
"""The reflected CRC-32 polynomial of zip (APPNOTE 4.4.7); bit 31 is the coefficient of x^0."""

_ONE = 1 << 31


class RecordPart:
    """The CRC-32 of the part of bytes ``begin`` to ``end`` that has been fed."""

    def __init__(self, begin: int, end: int) -> None:
        self.begin = begin
        self.end = end
        self.crc = 0
        self._length = 0

    def feed(self, raw: NDArray[np.uint8], offset: int) -> None:  # noqa: ARG002 - as TensorPart has
        """Take the bytes that follow those taken before; ``offset`` is where they begin."""
        self._length += raw.nbytes
        self.crc = zlib.crc32(raw.data, self.crc)

    def absorb(self, following: RecordPart) -> None:
        """Join the part that begins where this one ends."""
        self.crc = combine(self.crc, following.crc, following._length)
        self._length += following._length


def combine(first: int, second: int, second_length: int) -> int:
    """Return the CRC-32 of two byte strings joined, from theirs and the second's length in bytes.

    A CRC is a remainder, so that appending n bytes multiplies it by x^(8n); the initial and final
    inversions cancel in the sum.
    """
    return _multiply(_power_of_x(8 * second_length), first) ^ second


def _power_of_x(exponent: int) -> int:
    """Return x^exponent modulo the polynomial, by squaring."""
    result, square = _ONE, _ONE >> 1
    while exponent:
        if exponent & 1:
            result = _multiply(result, square)
        square = _multiply(square, square)
        exponent >>= 1
    return result


def _multiply(left: int, right: int) -> int:
    """Return the product of two reflected polynomials modulo the CRC's."""
    product = 0
    while left:
        if left & _ONE:
            product ^= right
        left = (left << 1) & 0xFFFFFFFF
        right = (right >> 1) ^ (_POLYNOMIAL if right & 1 else 0)
    return product
