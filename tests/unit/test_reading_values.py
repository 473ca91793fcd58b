from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resume_daemon.formats.tensors import TensorSpan
from resume_daemon.reading.float_layouts import FLOATS
from resume_daemon.reading.values import (
    SAMPLE_LENGTH,
    SAMPLE_PERIOD,
    TensorPart,
)
from resume_daemon.reading.zero_runs import leading_zeros, trailing_zeros

if TYPE_CHECKING:
    from resume_daemon.reading.results import TensorStatistics


def statistics_of(data: bytes, dtype: str, chunk: int | None = None) -> TensorStatistics:
    part = TensorPart(TensorSpan("t", dtype, (), 64, 64 + len(data)))
    raw, chunk = np.frombuffer(data, np.uint8), chunk or len(data) or 1
    for begin in range(0, len(data), chunk):
        part.feed(raw[begin : begin + chunk], 64 + begin)
    return part.statistics()


def fp8(byte: int, exponent_bits: int, bias: int, *, has_infinity: bool) -> float:
    """Decode one byte by the definition in arXiv:2209.05433, table 1."""
    mantissa_bits = 7 - exponent_bits
    sign = -1.0 if byte & 0x80 else 1.0
    exponent = (byte & 0x7F) >> mantissa_bits
    mantissa = byte & ((1 << mantissa_bits) - 1)
    top = (1 << exponent_bits) - 1
    if has_infinity and exponent == top:
        return sign * math.inf if mantissa == 0 else math.nan
    if not has_infinity and exponent == top and mantissa == (1 << mantissa_bits) - 1:
        return math.nan
    if exponent == 0:
        return sign * mantissa * 2.0 ** (1 - bias - mantissa_bits)
    return sign * (1 + mantissa / (1 << mantissa_bits)) * 2.0 ** (exponent - bias)


FP8 = {
    "F8_E4M3": [fp8(byte, 4, 7, has_infinity=False) for byte in range(256)],
    "F8_E5M2": [fp8(byte, 5, 15, has_infinity=True) for byte in range(256)],
}


def test_the_reference_knows_the_largest_fp8_values() -> None:
    assert max(v for v in FP8["F8_E4M3"] if not math.isnan(v)) == 448
    assert max(v for v in FP8["F8_E5M2"] if math.isfinite(v)) == 57344


@pytest.mark.parametrize("dtype", FP8)
def test_every_one_of_the_256_fp8_values_is_exact(dtype: str) -> None:
    for byte, value in enumerate(FP8[dtype]):
        found = statistics_of(bytes([byte]), dtype)
        assert found.nan == math.isnan(value)
        assert found.infinite == math.isinf(value)
        assert found.largest == (abs(value) if math.isfinite(value) else None)
        assert found.rms == (pytest.approx(abs(value), rel=1e-6) if math.isfinite(value) else None)


@pytest.mark.parametrize(
    ("dtype", "largest", "infinity", "nan"),
    [
        ("BF16", 3.3895313892515355e38, b"\x80\x7f", b"\x81\xff"),
        ("F16", 65504.0, b"\x00\xfc", b"\x01\x7c"),
        ("F32", 3.4028234663852886e38, b"\0\0\x80\x7f", b"\x01\0\x80\xff"),
        ("F64", 1.7976931348623157e308, b"\0\0\0\0\0\0\xf0\xff", b"\x01\0\0\0\0\0\xf0\x7f"),
    ],
)
def test_the_largest_finite_value_is_told_from_infinity_and_from_nan(
    dtype: str, largest: float, infinity: bytes, nan: bytes
) -> None:
    finite = FLOATS[dtype].largest.to_bytes(FLOATS[dtype].size, "little")
    found = statistics_of(infinity + finite + nan + nan, dtype)
    assert (found.largest, found.nan, found.infinite) == (largest, 2, 1)
    assert statistics_of(finite, dtype).nan == statistics_of(finite, dtype).infinite == 0
    assert statistics_of(infinity + nan, dtype).largest is None


@pytest.mark.parametrize("values", [[-3.0, -1.0], [3.0, 1.0], [-3.0, 1.0], [3.0, -1.0], [-3.0]])
def test_the_largest_magnitude_has_either_sign(values: list[float]) -> None:
    assert statistics_of(np.array(values, "<f4").tobytes(), "F32").largest == 3.0


def test_negative_zero_is_zero() -> None:
    found = statistics_of(np.array([-0.0], "<f4").tobytes(), "F32")
    assert (found.largest, found.rms) == (0.0, 0.0)


def test_squares_beyond_float64_give_no_rms_rather_than_infinity() -> None:
    found = statistics_of(np.array([1e200, 2.0], "<f8").tobytes(), "F64")
    assert (found.largest, found.rms) == (1e200, None)


def test_of_integers_only_trailing_zeros_are_told() -> None:
    found = statistics_of(b"\x01\xff\x00\x00", "I16")
    assert (found.largest, found.nan, found.rms, found.zeros_from) == (None, 0, None, 66)


@pytest.mark.parametrize("chunk", [None, 1, 53, 4099, SAMPLE_PERIOD + 2])
def test_the_sample_is_chosen_by_index_in_the_tensor_alone(chunk: int | None) -> None:
    data = np.zeros(2 * SAMPLE_PERIOD + 5000, np.uint8)
    kept = np.arange(len(data)) % SAMPLE_PERIOD < SAMPLE_LENGTH
    # 0x38 is 1.0 and 0x40 is 2.0 as F8_E4M3: only values outside of the sample are 2.
    data[:] = np.where(kept, 0x38, 0x40)
    if chunk == 1:
        data = data[: SAMPLE_LENGTH + 3]
    found = statistics_of(data.tobytes(), "F8_E4M3", chunk)
    assert (found.largest, found.rms) == (2.0, 1.0)


def test_values_that_are_not_finite_are_left_out_of_the_sample() -> None:
    data = np.array([3.0, math.nan, math.inf, 4.0, -5.0], "<f4")
    expected = math.sqrt((9 + 16 + 25) / 3)
    assert statistics_of(data.tobytes(), "F32").rms == pytest.approx(expected, rel=1e-6)


@given(
    st.binary(max_size=30),
    st.sampled_from([0, 1, 4095, 4096, 4097, 8192, 9000]),
    st.integers(0, 5000),
)
def test_trailing_zeros_begin_after_the_last_byte_that_is_not_zero(
    end: bytes, zeros: int, leading: int
) -> None:
    data = b"\0" * leading + end + b"\0" * zeros
    raw = np.frombuffer(data, np.uint8)
    assert trailing_zeros(raw) == len(data) - len(data.rstrip(b"\0"))
    assert leading_zeros(raw) == len(data) - len(data.lstrip(b"\0"))


@given(
    data=st.binary(max_size=80),
    dtype=st.sampled_from(sorted(FLOATS)),
    cuts=st.sets(st.integers(0, 80), max_size=5),
    chunk=st.integers(1, 20),
)
def test_parts_cut_anywhere_give_the_statistics_of_the_whole(
    data: bytes, dtype: str, cuts: set[int], chunk: int
) -> None:
    size = FLOATS[dtype].size
    data = data[: len(data) - len(data) % size]
    borders = [0]
    for cut in sorted(cuts):
        # A worker's first chunk holds at least the rest of an element that it begins in.
        if borders[-1] + size <= cut <= len(data) - size:
            borders.append(cut)
    borders.append(len(data))
    span = TensorSpan("t", dtype, (), 64, 64 + len(data))
    raw = np.frombuffer(data, np.uint8)
    parts = []
    for begin, end in pairwise(borders):
        parts.append(part := TensorPart(span))
        step = max(chunk, size)
        for offset in range(begin, end, step):
            part.feed(raw[offset : min(offset + step, end)], 64 + offset)
    first, *others = parts
    for other in others:
        first.absorb(other)
    assert first.statistics() == statistics_of(data, dtype)
