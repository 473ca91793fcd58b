from __future__ import annotations

import zlib

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from resume_daemon.reading.crc import RecordPart, combine


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_the_crc_of_two_strings_is_that_of_their_join(first: bytes, second: bytes) -> None:
    assert combine(zlib.crc32(first), zlib.crc32(second), len(second)) == zlib.crc32(first + second)


def test_a_long_second_part_is_combined_without_being_read_again() -> None:
    second = bytes(range(256)) * 40_000
    assert combine(zlib.crc32(b"head"), zlib.crc32(second), len(second)) == zlib.crc32(
        b"head" + second
    )


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=6))
def test_parts_fed_apart_and_absorbed_in_order_give_the_crc_of_the_whole(
    pieces: list[bytes],
) -> None:
    whole = b"".join(pieces)
    parts = []
    for piece in pieces:
        part = RecordPart(0, len(whole))
        for begin in range(0, len(piece), 7):
            part.feed(np.frombuffer(piece[begin : begin + 7], np.uint8), begin)
        parts.append(part)
    first, *others = parts
    for other in others:
        first.absorb(other)
    assert first.crc == zlib.crc32(whole)
