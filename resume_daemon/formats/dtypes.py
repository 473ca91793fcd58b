"""Element types: one name and one width for each, whichever library wrote the file.

The names are those of safetensors, because they are the shorter and the stricter list.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

SAFETENSORS_BITS: Final[Mapping[str, int]] = MappingProxyType(
    {
        "BOOL": 8,
        "F4": 4,
        "F6_E2M3": 6,
        "F6_E3M2": 6,
        "U8": 8,
        "I8": 8,
        "F8_E5M2": 8,
        "F8_E4M3": 8,
        "F8_E8M0": 8,
        "F8_E4M3FNUZ": 8,
        "F8_E5M2FNUZ": 8,
        "I16": 16,
        "U16": 16,
        "F16": 16,
        "BF16": 16,
        "I32": 32,
        "U32": 32,
        "F32": 32,
        "C64": 64,
        "F64": 64,
        "I64": 64,
        "U64": 64,
    }
)
"""Bits per element of every type that safetensors 0.8.0 reads.

Measured: the library lists them when it meets an unknown one, and each width is the only one that
it accepts for a tensor of eight elements.
"""

BITS: Final[Mapping[str, int]] = MappingProxyType({**SAFETENSORS_BITS, "C32": 32, "C128": 128})
"""The same, and the two complex types that only torch files hold (named in the same manner)."""

FLOATING: Final = frozenset(
    name for name in BITS if name.startswith(("F", "BF", "C")) and name != "F8_E8M0"
)
"""Types whose elements can be NaN or infinite, in the sense of a value gone wrong.

``F8_E8M0`` holds the exponents of block scales; F4 and F6 have no NaN, and are floating all the
same.
"""

TORCH_STORAGES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "DoubleStorage": "F64",
        "FloatStorage": "F32",
        "HalfStorage": "F16",
        "BFloat16Storage": "BF16",
        "LongStorage": "I64",
        "IntStorage": "I32",
        "ShortStorage": "I16",
        "CharStorage": "I8",
        "ByteStorage": "U8",
        "BoolStorage": "BOOL",
        "ComplexFloatStorage": "C64",
        "ComplexDoubleStorage": "C128",
        "QInt8Storage": "I8",
        "QInt32Storage": "I32",
        "QUInt8Storage": "U8",
        "QUInt4x2Storage": "U8",
        "QUInt2x4Storage": "U8",
        "UntypedStorage": "U8",
    }
)
"""Class of a storage in a torch pickle to its element type (torch 2.13 ``torch/storage.py``).

Quantized types go by the integers that they are stored as; newer types have an
``UntypedStorage``, counted in bytes, and name their type beside it.
"""

TORCH_DTYPES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "float64": "F64",
        "float32": "F32",
        "float16": "F16",
        "bfloat16": "BF16",
        "float8_e4m3fn": "F8_E4M3",
        "float8_e5m2": "F8_E5M2",
        "float8_e4m3fnuz": "F8_E4M3FNUZ",
        "float8_e5m2fnuz": "F8_E5M2FNUZ",
        "float8_e8m0fnu": "F8_E8M0",
        # One element of torch's type is a byte that holds two numbers.
        "float4_e2m1fn_x2": "U8",
        "int64": "I64",
        "int32": "I32",
        "int16": "I16",
        "int8": "I8",
        "uint64": "U64",
        "uint32": "U32",
        "uint16": "U16",
        "uint8": "U8",
        "bool": "BOOL",
        "complex32": "C32",
        "complex64": "C64",
        "complex128": "C128",
        "qint8": "I8",
        "qint32": "I32",
        "quint8": "U8",
        "quint4x2": "U8",
        "quint2x4": "U8",
        "bits8": "U8",
        "bits1x8": "U8",
        "bits2x4": "U8",
        "bits4x2": "U8",
        "bits16": "U16",
    }
)
"""Name of a type in the module ``torch`` to its element type (torch 2.13 ``torch.dtype``)."""
