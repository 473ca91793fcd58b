from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resume_daemon.formats.crc32c import crc32c


@pytest.mark.parametrize(
    ("content", "checksum"),
    [
        (b"", 0),
        (b"123456789", 0xE3069283),
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
    ],
)
def test_the_checksum_is_that_of_the_published_examples(content: bytes, checksum: int) -> None:
    """RFC 3720, B.4, and the usual check value."""
    assert crc32c(content) == checksum


def bit_by_bit(content: bytes) -> int:
    register = 0xFFFFFFFF
    for byte in content:
        register ^= byte
        for _ in range(8):
            register = register >> 1 ^ (0x82F63B78 if register & 1 else 0)
    return register ^ 0xFFFFFFFF


@given(st.integers(0, 3000), st.binary(min_size=1, max_size=64))
def test_many_bytes_at_once_give_what_one_after_another_gives(length: int, seed: bytes) -> None:
    content = (seed * (length // len(seed) + 1))[:length]

    assert crc32c(content) == bit_by_bit(content)
    assert crc32c(memoryview(content)) == crc32c(content)


@given(st.binary(min_size=1, max_size=1500), st.data())
def test_a_flipped_bit_changes_it(content: bytes, data: st.DataObject) -> None:
    place, bit = data.draw(st.integers(0, len(content) - 1)), data.draw(st.integers(0, 7))
    flipped = bytearray(content)
    flipped[place] ^= 1 << bit

    assert crc32c(bytes(flipped)) != crc32c(content)
