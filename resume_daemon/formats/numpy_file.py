"""Arrays of numpy: ``.npy``, one array, and ``.npz``, a zip of them.

The bytes of an array are held against its header to the last one (numpy 2.4
``lib/_format_impl.py``, ``lib/_npyio_impl.py``). An array of objects is a pickle, which is read as
any other: inertly.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from resume_daemon.errors import BeyondBoundsError, FormatError
from resume_daemon.files import open_regular
from resume_daemon.formats.byte_ranges import HEAD, blank_reason, read_range
from resume_daemon.formats.content import Content, Problem, ProblemKind
from resume_daemon.formats.inert_pickle import load
from resume_daemon.formats.inert_values import Limits
from resume_daemon.formats.inflation import Inflation
from resume_daemon.formats.numpy_header import MAX_HEADER_BYTES, PREAMBLE, parse_header
from resume_daemon.formats.pickle_budget import Budget
from resume_daemon.formats.pickle_source import FileSource
from resume_daemon.formats.tensors import RecordSpan, TensorSpan
from resume_daemon.formats.torch_zip import read_archive

if TYPE_CHECKING:
    from pathlib import Path

    from resume_daemon.formats.numpy_header import NumpyHeader
    from resume_daemon.formats.pickle_source import Source
    from resume_daemon.formats.torch_zip import Record

_OPERATION: Final = "read the numpy file"
_LONGEST_HEAD: Final = PREAMBLE + MAX_HEADER_BYTES
_INFLATED_LIMIT: Final = 64 * 1024 * 1024
"""Bytes of a compressed array of objects, which has to be held in memory."""

SINGLE: Final = "array"
"""The name of the one array of a ``.npy``, which has none of its own."""


def read_npy(path: Path) -> Content:
    """Return what a file of one array holds.

    Raises:
        FormatError: It is no such file, or beyond a bound.
        ChangedError: It became shorter meanwhile.
        VanishedError: It is not there.
        ResumeDaemonError: It cannot be read.
    """
    with open_regular(path) as fd:
        return _array(fd, path, SINGLE, begin=0, end=os.fstat(fd).st_size, budget=Budget(Limits()))


def read_npz(path: Path) -> Content:
    """Return what a zip of arrays holds: each by its name, without ``.npy``.

    Raises:
        FormatError: It is no such file, is beyond a bound, or a compressed array is not the one
            whose checksum it bears.
        ChangedError: It became shorter meanwhile.
        VanishedError: It is not there.
        ResumeDaemonError: It cannot be read.
    """
    archive = read_archive(path)
    found: list[Content] = []
    with open_regular(path) as fd:
        inflation, budget = Inflation(fd, path), Budget(Limits())
        for record in archive.records:
            name = record.name.removesuffix(".npy")
            if record.compressed:
                found.append(_inflated(inflation, path, name, record, budget))
            else:
                end = record.begin + record.size
                found.append(_array(fd, path, name, begin=record.begin, end=end, budget=budget))
    return Content(
        value={name: value for each in found for name, value in (each.value or {}).items()},
        shapes={name: shape for each in found for name, shape in each.shapes.items()},
        spans=tuple(span for each in found for span in each.spans),
        records=tuple(
            RecordSpan(each.name, each.begin, each.begin + each.size, each.crc)
            for each in archive.records
            if not each.compressed
        ),
        scalars={name: span for each in found for name, span in each.scalars.items()},
        references=tuple(dict.fromkeys(r for each in found for r in each.references)),
        problems=tuple(problem for each in found for problem in each.problems),
    )


def _array(fd: int, path: Path, name: str, *, begin: int, end: int, budget: Budget) -> Content:
    """Return an array that lies in a file as it is."""
    header = _header(read_range(fd, begin, min(_LONGEST_HEAD, end - begin), path), path, name)
    data_begin = begin + header.data_begin
    if header.width is None:
        return _objects(
            FileSource(fd, path, data_begin, end), path, name, header, begin=0, budget=budget
        )
    content = _measured(name, header, end - data_begin)
    if header.dtype is None or content.problems:
        return content
    # Rows of what lies together, as of every other tensor.
    shape = header.shape[::-1] if header.fortran else header.shape
    span = TensorSpan(name, header.dtype, shape, data_begin, end)
    scalars = {name: span} if header.shape in {(), (1,)} else {}
    return replace(content, spans=(span,), scalars=scalars)


def _inflated(
    inflation: Inflation, path: Path, name: str, record: Record, budget: Budget
) -> Content:
    """Return a compressed array; its values lie nowhere in the file as they are."""
    header = _header(inflation.beginning(record, _LONGEST_HEAD), path, name)
    inflation.check(record)
    if header.width is not None:
        return _measured(name, header, record.full - header.data_begin)
    if record.full > _INFLATED_LIMIT:
        reason = f"the compressed objects of {name[:200]!r} take more than {_INFLATED_LIMIT} bytes"
        raise BeyondBoundsError(_OPERATION, path, reason)
    data = inflation.beginning(record, _INFLATED_LIMIT)
    return _objects(data, path, name, header, begin=header.data_begin, budget=budget)


def _header(head: bytes, path: Path, name: str) -> NumpyHeader:
    if reason := blank_reason(head[:HEAD]):
        raise FormatError(_OPERATION, path, reason)
    try:
        return parse_header(head)
    except ValueError as error:
        raise FormatError(_OPERATION, path, f"array {name[:200]!r}: {error}") from None


def _measured(name: str, header: NumpyHeader, size: int) -> Content:
    """Return an array of plain elements, with the bytes that it has held against its shape."""
    problems: tuple[Problem, ...] = ()
    if size != header.data_bytes:
        kind = ProblemKind.SIZE
        message = f"array {name!r} takes {header.data_bytes} bytes, and {size} are there"
        problems = (Problem(kind, message),)
    return Content(shapes={name: header.shape}, problems=problems)


def _objects(
    data: Source, path: Path, name: str, header: NumpyHeader, *, begin: int, budget: Budget
) -> Content:
    pickle = load(data, path, begin=begin, budget=budget)
    problems: tuple[Problem, ...] = ()
    if pickle.end != len(data):
        message = f"{len(data) - pickle.end} bytes follow the objects of array {name!r}"
        problems = (Problem(ProblemKind.SIZE, message),)
    return Content(
        value={name: pickle.value},
        shapes={name: header.shape},
        references=pickle.references,
        problems=problems,
    )
