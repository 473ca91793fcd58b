"""Places in a file, without what stands there: all that presence, agreement and scans need."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TensorSpan:
    """Bytes ``begin`` to ``end`` (absolute offsets in the file, end exclusive) of one tensor.

    Attributes:
        name: The parameter's name, or for a torch archive the path to it in the pickled value.
        dtype: The safetensors name of the element type: ``BF16``, ``F16``, ``F32``, ``F64``,
            ``F8_E4M3``, ``F8_E5M2``, ``I64``, ``BOOL``, ... (safetensors ``tensor.rs: Dtype``).
        shape: Elements per dimension; empty for a scalar.
        begin: Offset of the first byte.
        end: Offset after the last byte.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int

    @property
    def size(self) -> int:
        """Length in bytes."""
        return self.end - self.begin


@dataclass(frozen=True, slots=True)
class Frame:
    """Bytes ``begin`` to ``end`` of a chunk of an array that are one frame of Zstandard.

    Attributes:
        name: Of the array, with the chunk's place where there are several.
        dtype: As in ``TensorSpan``; empty for a type that is not known.
        shape: Elements per dimension of the chunk.
        begin: Offset of the first byte.
        end: Offset after the last byte.
        size: Bytes that it decodes to.
        inline: Those bytes, where they were read already (they stand in a node).
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int
    size: int
    inline: bytes = b""


@dataclass(frozen=True, slots=True)
class RecordSpan:
    """Bytes ``begin`` to ``end`` of a stored record, and the CRC-32 that they should have."""

    name: str
    begin: int
    end: int
    crc: int
