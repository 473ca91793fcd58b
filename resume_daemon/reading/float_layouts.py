"""How the floating-point types of checkpoints keep their values, as integers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Bits = NDArray[np.unsignedinteger[Any]]


@dataclass(frozen=True, slots=True)
class FloatLayout:
    """How one floating-point type keeps its values.

    Attributes:
        unsigned: The unsigned integer of its width; its top bit is the sign.
        largest: The bits of the largest finite magnitude.
        infinity: The bits of infinity, or None where the type has none; all above are NaN.
    """

    unsigned: np.dtype[np.unsignedinteger[Any]]
    largest: int
    infinity: int | None

    @property
    def size(self) -> int:
        """Width in bytes."""
        return self.unsigned.itemsize

    @property
    def mask(self) -> int:
        """Every bit but the sign."""
        return (1 << (8 * self.size - 1)) - 1

    def magnitudes(self, bits: Bits) -> Bits:
        """Return the bits without the sign."""
        return np.bitwise_and(bits, self.unsigned.type(self.mask))


def _ieee(bits: int, mantissa: int) -> FloatLayout:
    """Return the layout of a type with IEEE infinities: exponent all ones, mantissa zero."""
    infinity = (1 << (bits - 1)) - (1 << mantissa)
    return FloatLayout(np.dtype(f"<u{bits // 8}"), infinity - 1, infinity)


FLOATS = {
    "BF16": _ieee(16, 7),
    "F16": _ieee(16, 10),
    "F32": _ieee(32, 23),
    "F64": _ieee(64, 52),
    "F8_E5M2": _ieee(8, 2),
    # No infinity, and a single NaN of each sign (arXiv:2209.05433, table 1: S.1111.111).
    "F8_E4M3": FloatLayout(np.dtype("<u1"), 0x7E, None),
}
"""Layouts by the names of safetensors ``tensor.rs: Dtype``; of other types only zeros are seen."""


def magnitudes_of(bits: Bits, dtype: str) -> NDArray[np.float64]:
    """Return the exact values of finite magnitudes, given as bits without their sign."""
    match dtype:
        case "BF16":
            return (bits.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
        case "F8_E5M2":
            return (bits.astype(np.uint16) << 8).view(np.float16).astype(np.float64)
        case "F8_E4M3":
            # Under half precision's exponent bias of 15, not 7, the same bits are 2^8 too small.
            return (bits.astype(np.uint16) << 7).view(np.float16).astype(np.float64) * 256.0
        case _:
            return bits.view(f"<f{bits.itemsize}").astype(np.float64)


def values_of(raw: NDArray[np.uint8], dtype: str) -> NDArray[np.float64]:
    """Return the values of whole elements, those that are not finite as they are."""
    layout = FLOATS[dtype]
    bits = raw.view(layout.unsigned)
    with np.errstate(invalid="ignore"):
        values = magnitudes_of(layout.magnitudes(bits), dtype)
    if layout.infinity is None:
        values[layout.magnitudes(bits) > layout.largest] = np.nan
    return np.where(bits > layout.mask, -values, values)


def sum_of_squares(values: NDArray[np.float64]) -> float:
    """Return the sum of the squares, by this thread alone.

    A dot product of more than ten thousand values makes OpenBLAS start a thread for each processor,
    and they spin while they wait: the training beside would pay for that.
    """
    return float(np.square(values).sum())
