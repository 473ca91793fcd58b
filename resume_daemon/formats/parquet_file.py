"""Parquet: the footer, and whether the file holds all that it describes; no value is decoded.

Format: apache/parquet-format ``README.md`` and ``parquet.thrift``: ``PAR1``, column chunks, the
footer, its length in four bytes, ``PAR1``. A file that was cut short has no footer.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

from resume_daemon.errors import BeyondBoundsError, FormatError
from resume_daemon.files import open_regular
from resume_daemon.formats.byte_ranges import HEAD, blank_reason, read_range
from resume_daemon.formats.content import Content, Problem, ProblemKind
from resume_daemon.formats.inert_values import BeyondBoundError
from resume_daemon.formats.thrift_compact import read_struct

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAX_FOOTER_BYTES: Final = 32 * 1024 * 1024
_MAGIC: Final = b"PAR1"
_ENCRYPTED: Final = b"PARE"
_TAIL: Final = 8
_OPERATION: Final = "read the Parquet file"

# Field numbers of parquet.thrift.
_SCHEMA, _ROWS, _GROUPS, _CREATED_BY = 2, 3, 4, 6
_ELEMENT_NAME = 4
_GROUP_COLUMNS, _GROUP_ROWS = 1, 3
_CHUNK_FILE, _CHUNK_META = 1, 3
_META_BYTES, _META_DATA, _META_DICTIONARY = 7, 9, 11


def read_parquet(path: Path) -> Content:
    """Return the rows, the names of the schema's elements and the writer of a Parquet file.

    Raises:
        FormatError: It is none, is cut short, or its footer is damaged or beyond a bound.
        ChangedError: It became shorter meanwhile.
        VanishedError: It is not there.
        ResumeDaemonError: It cannot be read.
    """
    with open_regular(path) as fd:
        size = os.fstat(fd).st_size
        head = read_range(fd, 0, min(size, HEAD), path)
        if reason := blank_reason(head):
            raise FormatError(_OPERATION, path, reason)
        if head[:4] == _ENCRYPTED:
            raise FormatError(_OPERATION, path, "its footer is encrypted")
        if head[:4] != _MAGIC:
            raise FormatError(_OPERATION, path, "it does not begin as a Parquet file does")
        tail = read_range(fd, size - min(size, _TAIL), min(size, _TAIL), path)
        if size < _TAIL + 4 or tail[4:] != _MAGIC:
            raise FormatError(_OPERATION, path, "it is cut short: the footer at its end is missing")
        length = int.from_bytes(tail[:4], "little")
        begin = size - _TAIL - length
        if begin < len(_MAGIC):
            raise FormatError(_OPERATION, path, f"it claims a footer of {length} bytes")
        if length > MAX_FOOTER_BYTES:
            raise BeyondBoundsError(_OPERATION, path, f"a footer of {length} bytes is not read")
        data = read_range(fd, begin, length, path)
    try:
        footer, end = read_struct(data)
        if end != length:
            raise ValueError(f"{length - end} bytes follow its structure")  # noqa: TRY301 - the one way out.
        problems = tuple(_problems(footer, begin))
        names = [_text(element[_ELEMENT_NAME]) for element in _structs(footer, _SCHEMA)]
        rows = _number(footer, _ROWS)
    except BeyondBoundError as error:
        raise BeyondBoundsError(_OPERATION, path, f"its footer: {error}") from None
    except (ValueError, KeyError) as error:
        reason = "a field is missing" if isinstance(error, KeyError) else str(error)
        raise FormatError(_OPERATION, path, f"its footer is damaged: {reason}") from None
    value = {"rows": rows, "schema": names, "created_by": _text(footer.get(_CREATED_BY, b""))}
    return Content(value=value, problems=problems)


def _problems(footer: dict[int, Any], footer_begin: int) -> Iterator[Problem]:
    """Yield each way in which the footer contradicts itself or the file."""
    rows = 0
    for number, group in enumerate(_structs(footer, _GROUPS)):
        rows += (own := _number(group, _GROUP_ROWS))
        # Chunks of no rows take no place, and are said to lie anywhere.
        for column, chunk in enumerate(_structs(group, _GROUP_COLUMNS) if own else ()):
            # A chunk in another file, or one whose description is encrypted, cannot be placed.
            if _CHUNK_FILE in chunk or _CHUNK_META not in chunk:
                continue
            (meta,) = _structs({0: [chunk[_CHUNK_META]]}, 0)
            begin = _number(meta, _META_DATA)
            # Some writers give 0 where there is no dictionary.
            if dictionary := meta.get(_META_DICTIONARY):
                begin = min(begin, _number({0: dictionary}, 0))
            end = begin + _number(meta, _META_BYTES)
            if begin < len(_MAGIC) or end > footer_begin:
                yield Problem(
                    ProblemKind.PLACE,
                    f"column {column} of row group {number} is said to take bytes {begin} to "
                    f"{end}, and the data ends at {footer_begin}",
                )
                return
    if rows != _number(footer, _ROWS):
        yield Problem(
            ProblemKind.SIZE,
            f"its row groups have {rows} rows, and it is said to have {footer[_ROWS]}",
        )


def _structs(owner: dict[int, Any], field: int) -> list[dict[int, Any]]:
    found = owner[field]
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise ValueError(f"field {field} is no list of structures")
    return found


def _number(owner: dict[int, Any], field: int) -> int:
    value = owner[field]
    if type(value) is not int or value < 0:
        raise ValueError(f"field {field} is no number that counts")
    return value


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else ""
