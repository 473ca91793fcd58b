"""What a scan is asked for and what it returns, as values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from resume_daemon.formats.tensors import RecordSpan, TensorSpan


@dataclass(frozen=True, slots=True)
class ScanTask:
    """One file and what lies in it.

    Attributes:
        path: The file, with its links resolved.
        spans: Its tensors; those that are to be looked at.
        records: Its stored zip records; those whose CRC is to be computed.
        key: Whatever the caller knows the file by.
    """

    path: Path
    spans: tuple[TensorSpan, ...] = ()
    records: tuple[RecordSpan, ...] = ()
    key: str = ""


@dataclass(frozen=True, slots=True)
class RangeDigest:
    """The BLAKE3 digest (64 lowercase hex digits) of bytes ``begin`` to ``end`` of a file."""

    begin: int
    end: int
    digest: str


@dataclass(frozen=True, slots=True)
class TensorStatistics:
    """What the values of one tensor look like.

    Attributes:
        name: As in its span.
        dtype: As in its span.
        shape: As in its span.
        largest: The largest magnitude of all finite values; None where there is none, or where the
            type is not one of ``resume_daemon.reading.float_layouts.FLOATS``.
        nan: How many values are NaN, of all.
        infinite: How many values are infinite, of all.
        rms: Root of the mean square of the finite values in the sample that
            ``values.SAMPLE_PERIOD`` states, to seven significant digits; None where the sample is
            empty or its squares do not fit a float64 (magnitudes beyond 1e154).
        zeros_from: Offset in the file from which on every byte of the tensor is zero: its end where
            the last byte is not zero, its begin where all bytes are.
        zero_runs: Begin and end in the file of runs of zero bytes that hold a whole page, the first
            ``zero_runs.MOST_RUNS`` of them, and one more where there are more.
        checksum: The same for equal bytes at the same place of a file (``checksum.Checksum``).
        probes: The values at ``values.probe_indices``, 0 for those that are not finite; none where
            the type is not one of ``FLOATS``.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    largest: float | None
    nan: int
    infinite: int
    rms: float | None
    zeros_from: int
    zero_runs: tuple[tuple[int, int], ...]
    checksum: str
    probes: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class RecordCheck:
    """The CRC-32 that a record should have, and the one that its bytes have."""

    name: str
    expected: int
    actual: int


@dataclass(frozen=True, slots=True)
class FileScan:
    """Everything that one pass over a file's bytes has shown, in the order that was asked for.

    Size and ``bytes_read`` in bytes, ``mtime_ns`` in nanoseconds since the epoch. The ranges cover
    the file without gap; an empty file has one empty range.
    """

    size: int
    mtime_ns: int
    inode: int
    ranges: tuple[RangeDigest, ...]
    tensors: tuple[TensorStatistics, ...]
    records: tuple[RecordCheck, ...]
    bytes_read: int
