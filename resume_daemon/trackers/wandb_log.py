"""The framing of W&B's transaction log (``run-<id>.wandb``): bytes in, whole records out.

The file is written by wandb-core in LevelDB's log format with W&B's own header and a plain CRC
(core/pkg/leveldb/record.go and core/internal/transactionlog in wandb/wandb; the bytes are the same
from wandb 0.22.3 to 0.31.0)::

    header   7 bytes: ":W&B", 0xBEE1 little endian, version 0; part of the first block
    block    32768 bytes, the last one shorter; fewer than 7 bytes left in a block are padding
    chunk    crc32 u32 | length u16 | kind u8 (1 full, 2 first, 3 middle, 4 last) | data
             crc32 is zlib's, over the kind byte and the data

wandb has no reader to import: ``wandb.sdk.internal.datastore`` is gone from 0.30.0 on, and the old
one raised on a file that is still being written.
"""

from __future__ import annotations

import os
import struct
import zlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from resume_daemon.errors import FormatError
from resume_daemon.files import open_regular, read_error

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BLOCK = 32768
"""Bytes of a block: damage loses the rest of one, never more."""

HEADER = b":W&B\xe1\xbe\x00"
"""The first bytes of every log."""

PIECE = 4 * 1024 * 1024
"""Bytes that one call reads unless told otherwise."""

MAX_RECORD = 32 * 1024 * 1024
"""Bytes after which a record is given up as damaged; W&B itself refuses history lines of 10 MB."""

_CHUNK = struct.Struct("<IHB")
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4
_LOST, _WAIT = 0, -1
"""Not on disk: the rest of a block does not check out, for good or perhaps only for now."""


@dataclass(frozen=True, slots=True)
class LogPiece:
    """What one bounded read of a log found.

    Attributes:
        records: Payload of each whole record and the offset just after it, in file order.
        offset: Where the next read starts. It is the whole state of a reader: a read from a saved
            offset returns what a reader that never stopped would return.
        damaged: Places in this piece at which at least one record was lost.
        more: Whether bytes after ``offset`` were left for the next call because of its limit.
        shrunk: The file is shorter than the offset asked for: it was replaced or cut, ``offset`` is
            0, and whatever was derived from it no longer holds.
    """

    records: tuple[tuple[bytes, int], ...]
    offset: int
    damaged: int = 0
    more: bool = False
    shrunk: bool = False


def read_log(path: Path, offset: int = 0, limit: int = PIECE) -> LogPiece:
    """Read the whole records that follow ``offset``, about ``limit`` bytes of them.

    A record that is not complete yet is waited for: the offset stays before it. A chunk that does
    not check out loses the rest of its block, once the next block shows that it is not merely
    being written. Zero bytes (a tail that a power cut left, a page that NFS has not shown yet)
    are waited for in the same way.

    Args:
        path: The ``.wandb`` file; opened for reading only, and closed before this returns.
        offset: 0, or the offset of an earlier piece.
        limit: Bytes to read at least; a longer record is still read whole, up to ``MAX_RECORD``.

    Raises:
        VanishedError: The file is not there.
        FormatError: It is no W&B log, or no regular file.
        ResumeDaemonError: It cannot be read.
    """
    with open_regular(path) as fd:
        try:
            size = os.fstat(fd).st_size
            if size < offset:
                return LogPiece((), 0, more=size > 0, shrunk=True)
            while size > offset:
                end = min(size, -(-(offset + limit) // BLOCK) * BLOCK)
                data = _read_at(fd, offset, end - offset)
                piece = _split(fd, path, data, offset)
                if end == size:
                    return replace(piece, more=False)
                if piece.offset > offset or not piece.more:
                    return piece
                # One record is longer than the piece. Bounded: none outgrows MAX_RECORD.
                limit *= 2
        except OSError as error:
            raise read_error(error, path) from error
    return LogPiece((), offset)


def _read_at(fd: int, position: int, length: int) -> bytes:
    pieces: list[bytes] = []
    while length > 0 and (piece := os.pread(fd, length, position)):
        pieces.append(piece)
        position += len(piece)
        length -= len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _split(fd: int, path: Path, data: bytes, base: int) -> LogPiece:
    """Return the whole records of ``data``, which starts at ``base`` and ends a block or the file.

    ``more`` of the result tells that the data ran out, rather than that something is waited for.
    """
    kept = base
    if base == 0:
        if len(data) < len(HEADER) or not any(data[: len(HEADER)]):
            return LogPiece((), 0)
        if not data.startswith(HEADER):
            raise FormatError("read", path, "it does not begin like a W&B transaction log")
        kept = len(HEADER)
    records: list[tuple[bytes, int]] = []
    damaged = 0
    parts: list[bytes] | None = None
    held = 0
    for kind, chunk, start, after in _chunks(fd, data, kept, base):
        if kind == _WAIT:
            return LogPiece(tuple(records), kept, damaged)
        if parts is not None and kind in {_FULL, _FIRST}:
            # The end of the record before was lost without a trace of its own.
            damaged += 1
            parts, kept = None, start
        if kind == _FULL:
            records.append((chunk, after))
            kept = after
        elif kind == _FIRST:
            parts, held = [chunk], len(chunk)
        elif kind == _LOST or (parts is not None and held + len(chunk) > MAX_RECORD):
            damaged += 1
            parts, kept = None, after
        elif parts is None:
            # The rest of a record whose beginning was lost; the records after it are whole.
            kept = after
        else:
            parts.append(chunk)
            held += len(chunk)
            if kind == _LAST:
                records.append((b"".join(parts), after))
                parts, kept = None, after
    return LogPiece(tuple(records), kept, damaged, more=True)


def _chunks(
    fd: int, data: bytes, position: int, base: int
) -> Iterator[tuple[int, bytes, int, int]]:
    """Yield kind, content, start and end of each chunk, from ``position`` to where data ends."""
    view = memoryview(data)
    end = base + len(data)
    while True:
        left = BLOCK - position % BLOCK
        if left < _CHUNK.size:
            position += left
            continue
        body = position + _CHUNK.size
        if body > end:
            return
        checksum, length, kind = _CHUNK.unpack_from(data, position - base)
        after = body + length
        sound = _FULL <= kind <= _LAST and length <= left - _CHUNK.size
        if sound and after > end:
            return
        if sound and zlib.crc32(view[body - 1 - base : after - base]) == checksum:
            yield kind, data[body - base : after - base], position, after
            position = after
        elif _is_written(fd, position + left):
            yield _LOST, b"", position, position + left
            position += left
        else:
            yield _WAIT, b"", position, position
            return


def _is_written(fd: int, position: int) -> bool:
    """Return whether a chunk was begun at ``position``: the block before it then is final."""
    header = os.pread(fd, _CHUNK.size, position)
    return len(header) == _CHUNK.size and any(header)
