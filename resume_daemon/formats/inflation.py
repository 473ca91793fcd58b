"""Compressed records of a zip: their checksum, and their first bytes, at a bounded cost.

One megabyte can inflate to a thousand. So nothing is kept but what was asked for, a record ends
where its directory says so, and all of a file's records together have one allowance.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Final

from resume_daemon.errors import FormatError
from resume_daemon.formats.byte_ranges import read_range

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from resume_daemon.formats.torch_zip import Record

ALLOWANCE: Final = 1024 * 1024 * 1024
"""Bytes that the records of one file may inflate to, some seconds' work; those for which none is
left are not checked."""

_OPERATION: Final = "read the zip archive"
_PIECE: Final = 256 * 1024


class Inflation:
    """Inflates the records of one open file, within one allowance."""

    def __init__(self, fd: int, path: Path, allowance: int = ALLOWANCE) -> None:
        self._fd = fd
        self._path = path
        self._left = allowance

    def beginning(self, record: Record, limit: int) -> bytes:
        """Return the first ``limit`` bytes of a record, or all of it; the caller bounds ``limit``.

        Raises:
            FormatError: It is not what compression writes, or the allowance is used up.
            ChangedError: The file became shorter meanwhile.
            ResumeDaemonError: It cannot be read.
        """
        pieces: list[bytes] = []
        for piece in self._pieces(record):
            pieces.append(piece[:limit])
            limit -= len(pieces[-1])
            if limit <= 0:
                break
        return b"".join(pieces)

    def check(self, record: Record) -> None:
        """Return if a record is as long as the directory says and has its checksum.

        A record that is longer than what is left of the allowance is taken as it is.

        Raises:
            FormatError: It is another one.
            ChangedError: The file became shorter meanwhile.
            ResumeDaemonError: It cannot be read.
        """
        if record.full > self._left:
            return
        crc = size = 0
        for piece in self._pieces(record):
            crc = zlib.crc32(piece, crc)
            size += len(piece)
        if size != record.full:
            raise self._fault(record, f"inflates to {size} bytes, and has {record.full}")
        if crc != record.crc:
            raise self._fault(record, "does not match its checksum")

    def _pieces(self, record: Record) -> Iterator[bytes]:
        """Yield the content of a record, and never more than it is said to have."""
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        place, end, size = record.begin, record.begin + record.size, 0
        while not inflater.eof:
            waiting = inflater.unconsumed_tail
            if not waiting and place < end:
                waiting = read_range(self._fd, place, min(_PIECE, end - place), self._path)
                place += len(waiting)
            try:
                piece = inflater.decompress(waiting, _PIECE)
            except zlib.error as error:
                raise self._fault(record, str(error)) from None
            if not (piece or waiting or inflater.eof):
                raise self._fault(record, "ends inside its compression")
            size += len(piece)
            self._left -= len(piece)
            if size > record.full:
                raise self._fault(record, f"inflates to more than its {record.full} bytes")
            if self._left < 0:
                reason = "its compressed records inflate to more than is read"
                raise FormatError(_OPERATION, self._path, reason)
            if piece:
                yield piece

    def _fault(self, record: Record, reason: str) -> FormatError:
        return FormatError(_OPERATION, self._path, f"record {record.name!r} {reason}")
