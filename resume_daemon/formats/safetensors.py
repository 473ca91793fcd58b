"""safetensors: a JSON header that says where each tensor lies, then the bytes.

Format: eight bytes with the header's length (little endian), the header, the data; the data must
be covered exactly, from the first byte to the last (safetensors ``tensor.rs: read_metadata``).
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from resume_daemon.errors import BeyondBoundsError, FormatError
from resume_daemon.files import open_regular
from resume_daemon.formats.byte_ranges import HEAD, blank_reason, read_range
from resume_daemon.formats.dtypes import SAFETENSORS_BITS
from resume_daemon.formats.json_document import parse_json
from resume_daemon.formats.tensors import TensorSpan

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

MAX_HEADER_BYTES: Final = 100_000_000
"""Longest header that the library reads (safetensors ``tensor.rs: MAX_HEADER_SIZE``)."""

MAX_TENSORS: Final = 200_000
"""Tensors of one file that are looked at, of 32 MiB of names: verification keeps 2 KB of each.

A mixture of experts of a trillion parameters has 150,000 in all, which lie in 60 files.
"""

_MAX_NAMES: Final = 32 * 1024 * 1024
_HEADER_MEMORY: Final = 300 * 1024 * 1024
"""Bytes that the header may take as JSON: 200,000 tensors with long names take 220 MiB."""

_LENGTH_BYTES: Final = 8
_LARGEST: Final = 2**63 - 1
_OPERATION: Final = "read the safetensors header of"


@dataclass(frozen=True, slots=True)
class SafetensorsHeader:
    """What a header says, in types that are right, but not yet held against the file.

    Attributes:
        data_begin: Offset of the first byte of data.
        file_size: Bytes of the file when it was read.
        metadata: The writer's own key and value pairs (``{"format": "pt"}``).
        tensors: In the order of their offsets, which are absolute.
    """

    data_begin: int
    file_size: int
    metadata: Mapping[str, str]
    tensors: tuple[TensorSpan, ...]


class HeaderProblemKind(StrEnum):
    """How a header and its file can disagree."""

    SIZE = "size"
    GAP = "gap"
    OVERLAP = "overlap"
    SHAPE = "shape"
    DTYPE = "dtype"


@dataclass(frozen=True, slots=True)
class HeaderProblem:
    """One disagreement; ``tensor`` is None where it is about the whole file."""

    kind: HeaderProblemKind
    tensor: str | None
    message: str


def read_header(path: Path) -> SafetensorsHeader:
    """Return the header of a safetensors file; nothing of the data is read.

    Raises:
        BeyondBoundsError: It has more tensors than are looked at.
        FormatError: There is no header, or it is not what the format promises.
        ChangedError: The file became shorter meanwhile.
        VanishedError: It is not there.
        ResumeDaemonError: It cannot be read.
    """
    with open_regular(path) as fd:
        size = os.fstat(fd).st_size
        head = read_range(fd, 0, min(size, HEAD), path)
        if reason := blank_reason(head):
            raise FormatError(_OPERATION, path, reason)
        if size < _LENGTH_BYTES:
            raise FormatError(
                _OPERATION,
                path,
                f"it is cut short: it has {size} bytes, and a header begins with 8",
            )
        length = int.from_bytes(head[:_LENGTH_BYTES], "little")
        if length > MAX_HEADER_BYTES:
            raise FormatError(
                _OPERATION,
                path,
                f"it claims a header of {length} bytes, and no reader takes more than "
                f"{MAX_HEADER_BYTES}: it is no safetensors file, or its first bytes are damaged",
            )
        begin = _LENGTH_BYTES + length
        if begin > size:
            raise FormatError(
                _OPERATION,
                path,
                f"it is cut short inside its header: {begin - size} of {begin} bytes are missing",
            )
        document = read_range(fd, _LENGTH_BYTES, length, path)
    return _parse(document, begin, size, path)


def problems(header: SafetensorsHeader) -> Iterator[HeaderProblem]:
    """Yield every way in which the header contradicts itself or the size of the file."""
    expected = max((tensor.end for tensor in header.tensors), default=header.data_begin)
    if header.file_size != expected:
        difference = abs(expected - header.file_size)
        how = "missing at" if header.file_size < expected else "too many after"
        yield HeaderProblem(
            HeaderProblemKind.SIZE,
            None,
            f"{difference} bytes are {how} the end: the header describes {expected} bytes and "
            f"the file has {header.file_size}",
        )
    covered = header.data_begin
    for tensor in header.tensors:
        if tensor.begin > covered:
            yield HeaderProblem(
                HeaderProblemKind.GAP,
                tensor.name,
                f"{tensor.begin - covered} bytes before it belong to no tensor",
            )
        elif tensor.begin < covered:
            yield HeaderProblem(
                HeaderProblemKind.OVERLAP,
                tensor.name,
                f"it begins {covered - tensor.begin} bytes before the end of another tensor",
            )
        covered = max(covered, tensor.end)
        if (bits := SAFETENSORS_BITS.get(tensor.dtype)) is None:
            yield HeaderProblem(
                HeaderProblemKind.DTYPE,
                tensor.name,
                f"safetensors knows no element type {tensor.dtype[:50]!r}",
            )
        elif (needed := _bits(tensor.shape, bits)) != 8 * tensor.size:
            words = "whole number of bytes" if needed % 8 else f"{needed // 8} bytes"
            yield HeaderProblem(
                HeaderProblemKind.SHAPE,
                tensor.name,
                f"shape {list(tensor.shape[:10])} of {tensor.dtype} takes "
                f"{'no ' if needed % 8 else ''}{words}, and {tensor.size} are given",
            )


def _bits(shape: tuple[int, ...], bits: int) -> int:
    """Return the bits of a tensor, or some number beyond any file, without ever growing large."""
    if 0 in shape:
        return 0
    for length in shape:
        bits *= length
        if bits > 8 * _LARGEST:
            return 16 * _LARGEST
    return bits


def _parse(document: bytes, begin: int, size: int, path: Path) -> SafetensorsHeader:
    header = parse_json(document, path, unique_keys=True, memory=_HEADER_MEMORY)
    if not isinstance(header, dict):
        raise FormatError(_OPERATION, path, "the header is no JSON object")
    metadata = header.pop("__metadata__", None) or {}
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise FormatError(_OPERATION, path, "__metadata__ is not a table of texts")
    if len(header) > MAX_TENSORS:
        reason = f"it has {len(header)} tensors, and more than {MAX_TENSORS} are not looked at"
        raise BeyondBoundsError(_OPERATION, path, reason)
    # A character outside of ASCII may take four bytes in memory.
    if sum(len(name) * (1 if name.isascii() else 4) for name in header) > _MAX_NAMES:
        reason = "the names of its tensors are longer than is looked at"
        raise BeyondBoundsError(_OPERATION, path, reason)
    spans = [_span(name, entry, begin, path) for name, entry in header.items()]
    spans.sort(key=lambda span: (span.begin, span.end))
    return SafetensorsHeader(begin, size, MappingProxyType(metadata), tuple(spans))


def _span(name: str, entry: Any, data_begin: int, path: Path) -> TensorSpan:
    def fault(reason: str) -> FormatError:
        return FormatError(_OPERATION, path, f"the entry of tensor {name[:200]!r} {reason}")

    if not isinstance(entry, dict):
        raise fault("is no JSON object")
    dtype, shape, offsets = (entry.get(key) for key in ("dtype", "shape", "data_offsets"))
    if not isinstance(dtype, str):
        raise fault("has no dtype")
    if not isinstance(shape, list) or not all(_is_size(length) for length in shape):
        raise fault("has no shape of whole numbers")
    if (
        not isinstance(offsets, list)
        or len(offsets) != 2  # noqa: PLR2004 - a begin and an end.
        or not all(_is_size(offset) for offset in offsets)
    ):
        raise fault("has no data_offsets of two whole numbers")
    begin, end = offsets
    if begin > end:
        raise fault(f"begins at {begin}, after its end at {end}")
    return TensorSpan(name, sys.intern(dtype), tuple(shape), data_begin + begin, data_begin + end)


def _is_size(value: Any) -> bool:
    """Return whether a JSON value is a whole number that fits a file (``True`` is none)."""
    return type(value) is int and 0 <= value <= _LARGEST
