"""The zip archive that ``torch.save`` writes: where each record lies, without reading any.

A zip's directory stands at its end, so a file that was cut short has none. Everything that the
directory claims is held against the file before it is used (format: PKWARE APPNOTE 6.3; how torch
uses it: ``caffe2/serialize/inline_container.cc`` and torch 2.13 ``torch/serialization.py``).
"""

from __future__ import annotations

import os
import re
import struct
import zlib
from dataclasses import dataclass, replace
from enum import StrEnum
from operator import itemgetter
from typing import TYPE_CHECKING, Final

from resume_daemon.errors import CutShortError, FormatError
from resume_daemon.files import open_regular
from resume_daemon.formats.byte_ranges import HEAD, blank_reason, read_range

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

MAX_RECORDS: Final = 250_000
"""Records above which an archive is refused (one per storage: an optimizer has two a tensor)."""

MAX_DIRECTORY_BYTES: Final = 64 * 1024 * 1024
_MAX_NAME_BYTES: Final = 1024

_OPERATION: Final = "read the torch archive"

_LOCAL: Final = struct.Struct("<4s5H3L2H")
_CENTRAL: Final = struct.Struct("<4s6H3L5H2L")
_END: Final = struct.Struct("<4s4H2LH")
_LOCATOR_64: Final = struct.Struct("<4sLQL")
_END_64: Final = struct.Struct("<4sQ2H2L4Q")

_FULL_16: Final = 0xFFFF
_FULL_32: Final = 0xFFFF_FFFF
_STORED, _DEFLATED = 0, 8
_ENCRYPTED: Final = 1 << 0
_SIZES_FOLLOW: Final = 1 << 3
_EXTRA_64: Final = 0x0001

# Protocols 2 and up name themselves; the older two begin with a container or a class.
_PICKLE: Final = re.compile(rb"\x80[\x02-\x05]|\([dlit]|[\]})][.q(pr]|\(?c[\w.]+\n\w+\n")


class FileKind(StrEnum):
    """What a file is by its first bytes."""

    ZIP = "zip"
    PICKLE = "pickle"
    EMPTY = "empty"
    ZEROS = "zeros"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Record:
    """One file in an archive.

    Attributes:
        name: Its path in the archive, such as ``archive/data/0``.
        begin: Absolute offset of its first byte, after its own header.
        size: Bytes that it takes in the file from there.
        crc: CRC-32 of its content as the archive states it (after
            ``torch.serialization.set_crc32_options(False)`` it is not that of the content).
        compressed: Whether those bytes are deflated; torch stores them as they are.
        full: Bytes of its content; ``size`` where it is not compressed.
    """

    name: str
    begin: int
    size: int
    crc: int
    compressed: bool
    full: int


@dataclass(frozen=True, slots=True)
class TorchArchive:
    """The records of an archive in the order in which they lie, and where in its file it ends."""

    records: tuple[Record, ...]
    end: int


def sniff(path: Path) -> FileKind:
    """Return what a file is by its first bytes.

    Raises:
        FormatError: It is no regular file.
        VanishedError: It is not there.
        ResumeDaemonError: It cannot be read.
    """
    with open_regular(path) as fd:
        head = read_range(fd, 0, min(os.fstat(fd).st_size, HEAD), path)
    if not head:
        return FileKind.EMPTY
    if blank_reason(head):
        return FileKind.ZEROS
    if head.startswith(b"PK\x03\x04"):
        return FileKind.ZIP
    return FileKind.PICKLE if _PICKLE.match(head) else FileKind.UNKNOWN


def read_archive(path: Path, begin: int = 0, end: int | None = None) -> TorchArchive:
    """Return the records of a zip archive; of their content nothing is read.

    Args:
        path: The file.
        begin: Where in the file the archive begins; records are placed in the file all the same.
        end: Where it ends; None for the end of the file.

    Raises:
        FormatError: It is no archive, cut short, contradicts itself, or is beyond a bound.
        ChangedError: It became shorter meanwhile.
        VanishedError: It is not there.
        ResumeDaemonError: It cannot be read.
    """
    with open_regular(path) as fd:
        limit = os.fstat(fd).st_size
        if end is not None:
            if end > limit:
                missing = f"it is cut short: {end - limit} bytes are missing"
                raise FormatError(_OPERATION, path, missing)
            limit = end
        window = _Window(fd, path, begin, limit - begin)
        if reason := blank_reason(window.read(0, min(window.size, HEAD))):
            raise FormatError(_OPERATION, path, reason)
        try:
            place, length, count = _find_directory(window)
            directory = window.read(place, length)
            records = tuple(_placed(window, _entries(directory, count), place))
        except struct.error:
            raise FormatError(_OPERATION, path, "its directory is damaged") from None
        except EOFError as error:
            raise CutShortError(_OPERATION, path, str(error)) from None
        except ValueError as error:
            raise FormatError(_OPERATION, path, str(error)) from None
    return TorchArchive(records, limit)


@dataclass(frozen=True, slots=True)
class _Window:
    """The part of an open file that is an archive; offsets are the archive's own."""

    fd: int
    path: Path
    base: int
    size: int

    def read(self, begin: int, size: int) -> bytes:
        return read_range(self.fd, self.base + begin, size, self.path)


def read_record(path: Path, record: Record, limit: int) -> bytes:
    """Return the content of one record, inflated where it is compressed.

    Raises:
        FormatError: It has more than ``limit`` bytes, or is not what compression writes.
        ChangedError: The file became shorter meanwhile.
        VanishedError: It is not there.
        ResumeDaemonError: It cannot be read.
    """
    too_large = FormatError(
        _OPERATION, path, f"record {record.name!r} has more than {limit} bytes, which are not read"
    )
    if record.size > limit:
        raise too_large
    with open_regular(path) as fd:
        content = read_range(fd, record.begin, record.size, path)
    if not record.compressed:
        return content
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        content = inflater.decompress(content, limit + 1)
    except zlib.error as error:
        raise FormatError(_OPERATION, path, f"record {record.name!r}: {error}") from None
    if len(content) > limit:
        raise too_large
    if not inflater.eof:
        raise FormatError(_OPERATION, path, f"record {record.name!r} ends inside its compression")
    return content


def _find_directory(window: _Window) -> tuple[int, int, int]:
    """Return offset, bytes and number of entries of the directory."""
    tail_begin = max(0, window.size - _END.size - _FULL_16 - _LOCATOR_64.size)
    tail = window.read(tail_begin, window.size - tail_begin)
    place = tail.rfind(b"PK\x05\x06")
    if place < 0 or len(tail) - place < _END.size:
        raise EOFError("it is cut short: the zip's directory at its end is missing")
    _, disk, first_disk, _, count, length, begin, comment = _END.unpack_from(tail, place)
    if place + _END.size + comment != len(tail):
        raise ValueError("something follows the zip's directory, or its last bytes are damaged")
    end = tail_begin + place
    if place >= _LOCATOR_64.size and tail[place - _LOCATOR_64.size :].startswith(b"PK\x06\x07"):
        _, _, end_64, _ = _LOCATOR_64.unpack_from(tail, place - _LOCATOR_64.size)
        if end_64 + _END_64.size > end - _LOCATOR_64.size:
            raise ValueError("its 64-bit directory points outside of it")
        fields = _END_64.unpack(window.read(end_64, _END_64.size))
        if fields[0] != b"PK\x06\x06":
            raise ValueError("its 64-bit directory is not where it should be")
        disk, first_disk, _, count, length, begin = fields[4:]
        end = end_64
    if disk or first_disk:
        raise ValueError("it is one part of an archive in several")
    if begin + length != end:
        raise ValueError(
            f"its directory is not where it should be: {begin + length} bytes are described, and "
            f"{end} lie before its end"
        )
    if length > MAX_DIRECTORY_BYTES or count > MAX_RECORDS:
        raise ValueError(f"it claims {count} records, more than {MAX_RECORDS} are not read")
    return begin, length, count


def _entries(directory: bytes, count: int) -> Iterator[tuple[Record, int]]:
    """Yield each record, its place yet unknown, and the offset of its own header."""
    position = 0
    names: set[str] = set()
    for _ in range(count):
        fields = _CENTRAL.unpack_from(directory, position)
        if fields[0] != b"PK\x01\x02":
            raise ValueError("its directory is damaged")
        flags, method, crc, stored, full = fields[3], fields[4], *fields[7:10]
        name_length, extra_length, comment_length = fields[10:13]
        position += _CENTRAL.size
        name = _name(directory[position : position + name_length])
        if name in names:
            raise ValueError(f"record {name!r} stands twice in its directory")
        names.add(name)
        position += name_length
        extra = directory[position : position + extra_length]
        position += extra_length + comment_length
        full, stored, header = _wide(extra, full, stored, fields[16])
        if flags & _ENCRYPTED or method not in {_STORED, _DEFLATED}:
            raise ValueError(
                f"record {name!r} is encrypted or compressed in a way that is not read"
            )
        if method == _STORED and stored != full:
            raise ValueError(f"record {name!r} has two sizes")
        yield Record(name, 0, stored, crc, method == _DEFLATED, full), header
    if position != len(directory):
        raise ValueError("its directory is damaged")


def _wide(extra: bytes, *values: int) -> tuple[int, ...]:
    """Return the values, those that did not fit 32 bits taken from the extra field."""
    wide: list[int] = []
    position = 0
    while position + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, position)
        position += 4
        if kind == _EXTRA_64:
            field = extra[position : position + length]
            wide = [number for (number,) in struct.iter_unpack("<Q", field[: len(field) // 8 * 8])]
        position += length
    return tuple(wide.pop(0) if value == _FULL_32 and wide else value for value in values)


def _name(raw: bytes) -> str:
    if len(raw) > _MAX_NAME_BYTES:
        raise ValueError(f"a record's name has {len(raw)} bytes")
    try:
        name = raw.decode()
    except UnicodeDecodeError:
        raise ValueError("a record's name is not UTF-8") from None
    if (
        not name.isprintable()
        or "\\" in name
        or not all(name.split("/"))
        or ".." in name.split("/")
    ):
        raise ValueError(
            f"a record has the name {name[:200]!r}, which no archive of a trainer holds"
        )
    return name


def _placed(
    window: _Window, entries: Iterable[tuple[Record, int]], directory: int
) -> Iterator[Record]:
    """Yield the records in the order in which they lie, each with its place."""
    free = 0
    for record, header in sorted(entries, key=itemgetter(1)):
        if header < free:
            raise ValueError(f"record {record.name!r} overlaps the one before it")
        begin = _place(window, record, header, directory)
        free = begin + record.size
        yield replace(record, begin=window.base + begin)


def _place(window: _Window, record: Record, header: int, directory: int) -> int:
    """Return where a record begins, once its own header agrees with the directory."""
    if header + _LOCAL.size > directory:
        raise ValueError(f"record {record.name!r} lies outside of the archive")
    name = record.name.encode()
    head = window.read(header, min(_LOCAL.size + len(name), directory - header))
    fields = _LOCAL.unpack_from(head)
    signature, flags, method, crc, stored = fields[0], fields[2], fields[3], fields[6], fields[7]
    name_length, extra_length = fields[9:11]
    begin: int = header + _LOCAL.size + name_length + extra_length
    if begin + record.size > directory:
        raise ValueError(f"record {record.name!r} reaches beyond the archive's data")
    if (
        signature != b"PK\x03\x04"
        or name_length != len(name)
        or head[_LOCAL.size :] != name
        or (method == _DEFLATED) != record.compressed
    ):
        raise ValueError(f"the header of record {record.name!r} contradicts the directory")
    # torch writes size and CRC after the content, and zeros into the header.
    if not flags & _SIZES_FOLLOW and (crc != record.crc or stored not in {record.size, _FULL_32}):
        raise ValueError(f"the header of record {record.name!r} contradicts the directory")
    return begin
