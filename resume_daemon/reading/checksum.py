"""A sum over the words of a tensor, at the speed of memory: equal bytes have an equal one.

It says that a tensor did not move without a second digest of every byte: BLAKE3 runs at 6 GB/s per
core, this at 60 (measured as in ``values``). It is no proof against intent, and none is needed:
the digests of the file are kept beside it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_WORD: Final = 8
_BLOCK: Final = 1_048_576
"""Bytes of the file that are added up before they are weighed. Small steps of training that cancel
out in one sum would have to do so in every block."""

_MASK: Final = (1 << 64) - 1


class Checksum:
    """The weighed sum of all words fed so far, in any pieces and any order.

    A byte counts by its place in its word of the file, and its block's place in the tensor, so that
    pieces may be cut anywhere.
    """

    def __init__(self, begin: int) -> None:
        self._first = begin // _BLOCK
        self._sum = 0

    def feed(self, raw: NDArray[np.uint8], offset: int) -> None:
        """Take the bytes that lie at ``offset`` of the file."""
        at = 0
        while at < len(raw):
            block = (offset + at) // _BLOCK
            until = min((block + 1) * _BLOCK - offset, len(raw))
            words = _sum_of_words(raw[at:until], (offset + at) % _WORD)
            self._sum = (self._sum + words * _weight(block - self._first)) & _MASK
            at = until

    def absorb(self, other: Checksum) -> None:
        """Add what another one of the same tensor has taken."""
        self._sum = (self._sum + other._sum) & _MASK

    def value(self) -> str:
        """Return the sum as 16 hexadecimal digits."""
        return f"{self._sum:016x}"


def _sum_of_words(raw: NDArray[np.uint8], place: int) -> int:
    """Return the sum of the words in which bytes lie of which the first has a place in its word."""
    head = -place % _WORD
    whole = len(raw) - (len(raw) - head) % _WORD
    if whole <= head:
        return sum(int(byte) << 8 * ((place + at) % _WORD) for at, byte in enumerate(raw))
    words = raw[head:whole].view("<u8")
    if not words.flags.aligned:
        words = words.copy()
    before = int.from_bytes(raw[:head].tobytes(), "little") << 8 * place
    return before + int(np.add.reduce(words)) + int.from_bytes(raw[whole:].tobytes(), "little")


@lru_cache(maxsize=4096)
def _weight(block: int) -> int:
    """Return an odd number for each block, in no order (the finaliser of splitmix64)."""
    mixed = (block + 0x9E3779B97F4A7C15) & _MASK
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
    return (mixed ^ (mixed >> 31)) | 1
