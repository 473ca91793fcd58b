"""Arrays of zarr: those of a store in OCDBT, those in directories of their own, and their data."""

from __future__ import annotations

import os
import struct
from operator import itemgetter
from typing import TYPE_CHECKING, Final

from resume_daemon.errors import BeyondBoundsError, FormatError
from resume_daemon.files import open_regular
from resume_daemon.formats.byte_ranges import read_range
from resume_daemon.formats.content import Content, Problem, ProblemKind
from resume_daemon.formats.crc32c import crc32c
from resume_daemon.formats.json_document import read_json
from resume_daemon.formats.ocdbt import read_store
from resume_daemon.formats.tensors import Frame, TensorSpan
from resume_daemon.formats.zarr_arrays import arrays_in, described
from resume_daemon.formats.zstd_frames import MAGIC

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from resume_daemon.formats.zarr_arrays import Piece

    Fetch = Callable[[int, int], bytes]

_OPERATION: Final = "read the data file"
_MOST_PROBLEMS: Final = 8
_MOST_INNER: Final = 1_000_000
"""Chunks of one shard whose index is read."""
_MOST_CHUNKS: Final = 500_000
"""Of all shards of one file together."""
_ENTRY: Final = 16
_CRC: Final = 4
_ABSENT: Final = 2**64 - 1


def read_arrays(path: Path) -> Content:
    """Return what a store holds, by its manifest; the value is a ``zarr_arrays.Arrays``.

    Raises:
        FormatError: As ``ocdbt.read_store``.
        ChangedError: Something became shorter meanwhile.
        VanishedError: The manifest is not there.
        ResumeDaemonError: It cannot be read.
    """
    arrays = arrays_in(read_store(path), path)
    frames: list[Frame] = []
    problems = [*arrays.problems]
    for piece in arrays.pieces:
        inline = piece.value.inline
        if inline is None:
            continue
        try:
            for label, begin, end in _chunks(piece, len(inline), _of_bytes(inline)):
                if piece.array.compressed:
                    frames.append(_frame(piece, label, begin, end, inline[begin:end]))
        except ValueError as error:
            problems.append(f"{piece.label}: {error}")
        if len(frames) > _MOST_CHUNKS:
            raise _too_many(path)
    return Content(
        value=arrays,
        shapes={name: array.shape for name, array in arrays.arrays.items()},
        frames=tuple(frames),
        problems=_told(problems),
    )


def read_array(path: Path) -> Content:
    """Return what describes one array; the value is a ``zarr_arrays.Array``, named as its folder.

    Raises:
        FormatError: It describes no array.
        ChangedError: It became shorter meanwhile.
        VanishedError: It is not there.
        ResumeDaemonError: It cannot be read.
    """
    document = read_json(path)
    try:
        array = described(path.parent.name, path.name, document)
    except ValueError as error:
        reason = f"it does not describe an array: {error}"
        raise FormatError("read the description of an array in", path, reason) from None
    return Content(value=array, shapes={array.name: array.shape})


def read_array_data(path: Path, size: int, needed: int, pieces: Sequence[Piece]) -> Content:
    """Return what a data file, or the file of one chunk, holds.

    Args:
        path: The file.
        size: Its bytes.
        needed: The least that it must have, as the tree of the store says.
        pieces: What lies in it.

    Raises:
        FormatError: It is shorter than the tree says.
        ChangedError: It became shorter meanwhile.
        VanishedError: It is not there.
        ResumeDaemonError: It cannot be read.
    """
    if size < needed:
        reason = f"it is cut short: {needed - size} of {needed} bytes are missing"
        raise FormatError(_OPERATION, path, reason)
    spans: list[TensorSpan] = []
    frames: list[Frame] = []
    problems: list[str] = []
    with open_regular(path) as fd:
        if os.fstat(fd).st_size < needed:
            raise FormatError(_OPERATION, path, "it became shorter")
        free = 0
        for piece in sorted(pieces, key=lambda each: each.value.begin):
            base = piece.value.begin
            if base < free:
                continue  # Its bytes are looked at for the one before.
            free = piece.value.end

            def fetch(begin: int, length: int, base: int = base) -> bytes:
                return read_range(fd, base + begin, length, path)

            try:
                for label, begin, end in _chunks(piece, piece.value.end - base, fetch):
                    if piece.array.compressed:
                        frames.append(_frame(piece, label, base + begin, base + end))
                    elif piece.array.compressed is False and piece.array.dtype is not None:
                        spans.append(
                            TensorSpan(
                                label,
                                piece.array.dtype,
                                piece.array.chunk,
                                base + begin,
                                base + end,
                            )
                        )
            except ValueError as error:
                problems.append(f"{piece.label}: {error}")
            if len(spans) + len(frames) > _MOST_CHUNKS:
                raise _too_many(path)
    return Content(spans=tuple(spans), frames=tuple(frames), problems=_told(problems))


def _too_many(path: Path) -> BeyondBoundsError:
    reason = f"it holds more than {_MOST_CHUNKS} chunks, which are not looked at"
    return BeyondBoundsError(_OPERATION, path, reason)


def _told(problems: Sequence[str]) -> tuple[Problem, ...]:
    return tuple(Problem(ProblemKind.STORE, words) for words in problems[:_MOST_PROBLEMS])


def _of_bytes(content: bytes) -> Fetch:
    return lambda begin, length: content[begin : begin + length]


def _frame(piece: Piece, label: str, begin: int, end: int, inline: bytes = b"") -> Frame:
    array = piece.array
    return Frame(label, array.dtype or "", array.chunk, begin, end, array.size, inline)


def _chunks(piece: Piece, length: int, fetch: Fetch) -> Iterator[tuple[str, int, int]]:
    """Yield each chunk of a value, with where it begins and ends there, after a first look.

    Raises:
        ValueError: Something in the value is not what its array says.
    """
    array = piece.array
    places = _inner(piece, length, fetch) if array.inner else [(piece.label, 0, length)]
    for label, begin, end in places:
        if array.compressed and fetch(begin, min(len(MAGIC), end - begin)) != MAGIC:
            raise ValueError("there is no frame of Zstandard where it should begin")
        if array.compressed is False and array.dtype is not None and end - begin != array.size:
            raise ValueError(f"a chunk has {end - begin} bytes, and should have {array.size}")
        yield label, begin, end


def _inner(piece: Piece, length: int, fetch: Fetch) -> list[tuple[str, int, int]]:
    """Return the chunks of a shard, by the index at its end."""
    count = piece.array.inner
    size = count * _ENTRY + _CRC
    if count > _MOST_INNER:
        return []
    if size > length:
        raise ValueError("its shard is shorter than the index at its end")
    index = fetch(length - size, size)
    if crc32c(index[:-_CRC]) != int.from_bytes(index[-_CRC:], "little"):
        raise ValueError("the index of its shard does not match its checksum")
    found = []
    for number in range(count):
        begin, chunk = struct.unpack_from("<QQ", index, number * _ENTRY)
        if begin == chunk == _ABSENT:
            continue
        if begin + chunk > length - size:
            raise ValueError("the index of its shard points outside of it")
        label = piece.label if count == 1 else f"{piece.label}#{number}"
        found.append((label, begin, begin + chunk))
    return list(_disjoint(found))


def _disjoint(places: list[tuple[str, int, int]]) -> Iterator[tuple[str, int, int]]:
    """Yield those that begin after the ones before: no byte is decoded twice."""
    free = 0
    for place in sorted(places, key=itemgetter(1)):
        if place[1] >= free:
            yield place
            free = place[2]
