from __future__ import annotations

import re
from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from resume_daemon.reading.checksum import Checksum
from resume_daemon.reading.zero_runs import MOST_RUNS, PAGE, ZeroRuns, holds_page

PIECES = st.lists(
    st.tuples(
        st.binary(max_size=20),
        st.sampled_from([0, 1, 100, PAGE - 1, PAGE, 2 * PAGE - 1, 2 * PAGE, 3 * PAGE + 7]),
    ),
    max_size=6,
)


def pieces_of(data: bytes, offset: int, cuts: list[int]) -> list[tuple[np.ndarray, int]]:
    borders = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    raw = np.frombuffer(data, np.uint8)
    return [(raw[begin:end], offset + begin) for begin, end in pairwise(borders)]


@given(
    PIECES, st.integers(0, 3 * PAGE), st.lists(st.integers(0, 10**6), max_size=6), st.integers(0, 7)
)
def test_runs_are_those_of_the_whole_however_it_is_cut(
    pieces: list[tuple[bytes, int]], offset: int, cuts: list[int], split: int
) -> None:
    data = b"".join(head + bytes(zeros) for head, zeros in pieces)
    expected = [
        (offset + run.start(), offset + run.end())
        for run in re.finditer(rb"\0+", data)
        if holds_page(offset + run.start(), offset + run.end())
    ]
    first, second = ZeroRuns(), ZeroRuns()
    for number, (raw, at) in enumerate(pieces_of(data, offset, cuts)):
        (first if number < split else second).feed(raw, at)
    first.absorb(second)

    assert list(first.found()) == expected
    assert first.tail == len(data) - len(data.rstrip(b"\0"))


def test_of_very_many_runs_the_first_ones_are_told() -> None:
    data = (bytes(2 * PAGE) + b"\1") * (3 * MOST_RUNS)
    runs = ZeroRuns()
    for raw, at in pieces_of(data, 0, [PAGE * number for number in range(0, 900, 90)]):
        runs.feed(raw, at)

    assert len(runs.found()) == MOST_RUNS + 1
    assert runs.found()[0] == (0, 2 * PAGE)


@given(
    st.binary(max_size=200),
    st.integers(0, 40),
    st.lists(st.integers(0, 10**6), max_size=6),
)
def test_a_checksum_is_that_of_the_whole_however_it_is_cut(
    data: bytes, offset: int, cuts: list[int]
) -> None:
    whole, parts = Checksum(offset), Checksum(offset)
    whole.feed(np.frombuffer(data, np.uint8), offset)
    for raw, at in pieces_of(data, offset, cuts):
        part = Checksum(offset)
        part.feed(raw, at)
        parts.absorb(part)

    assert parts.value() == whole.value()


@given(st.integers(0, 3 * 2**20 - 1), st.integers(1, 255), st.integers(0, 15))
def test_any_byte_that_changes_changes_the_checksum(at: int, bits: int, begin: int) -> None:
    data = np.full(3 * 2**20, 7, np.uint8)
    before, after = Checksum(begin), Checksum(begin)
    before.feed(data, begin)
    data[at] ^= np.uint8(bits)
    after.feed(data, begin)

    assert before.value() != after.value()


def test_blocks_that_change_places_change_the_checksum() -> None:
    data = np.repeat(np.arange(4, dtype=np.uint8), 2**20)
    one, other = Checksum(0), Checksum(0)
    one.feed(data, 0)
    other.feed(data[::-1].copy(), 0)

    assert one.value() != other.value()
