"""One file that several workers read at the same time: opened once, judged once, closed once."""

from __future__ import annotations

import hashlib
import os
import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING

from resume_daemon.errors import ChangedError, ResumeDaemonError, VanishedError
from resume_daemon.files import open_regular, read_error
from resume_daemon.reading.results import FileScan, RangeDigest, RecordCheck
from resume_daemon.reading.values import TensorPart

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from resume_daemon.reading.crc import RecordPart
    from resume_daemon.reading.ranges import RangeReader, RangeScan
    from resume_daemon.reading.results import ScanTask

    Report = Callable[[tuple[ScanTask, FileScan | ResumeDaemonError]], None]


def shared_ranges(
    tasks: Iterable[ScanTask], range_bytes: int, report: Report
) -> Iterator[tuple[OpenFile, range]]:
    """Yield the places of the ranges of every file, opening each file when it is asked for.

    Each range is for itself, unless one worker has to read all of a file. What cannot be opened is
    reported, and the next file takes its turn.
    """
    for task in tasks:
        try:
            file = OpenFile(task, range_bytes, report)
        except ResumeDaemonError as error:
            report((task, error))
            continue
        for places in file.shares():
            yield file, places


class OpenFile:
    """A file's descriptor, what it was when it was opened, and its ranges' results so far."""

    def __init__(self, task: ScanTask, range_bytes: int, report: Report) -> None:
        self.task = task
        self._report = report
        with ExitStack() as closing:
            self._fd = closing.enter_context(open_regular(task.path))
            self._opened = _status(self._fd, task.path)
            size = self._opened.st_size
            ends = [span.end for span in task.spans] + [span.end for span in task.records]
            needed = max(ends, default=0)
            if needed > size:
                raise ChangedError(
                    "read",
                    task.path,
                    f"it has {size} bytes, and had {needed} when it was looked at",
                )
            self._closing = closing.pop_all()
        self.ranges = tuple(
            (begin, min(begin + range_bytes, size)) for begin in range(0, max(size, 1), range_bytes)
        )
        self._parts: list[RangeScan | None] = [None] * len(self.ranges)
        self._whole = (
            hashlib.new(task.algorithm, usedforsecurity=False)
            if task.algorithm is not None
            else None
        )
        self._left = len(self.shares())
        self._error: BaseException | None = None
        self._lock = threading.Lock()

    def shares(self) -> tuple[range, ...]:
        """Return which ranges go together to one worker: all, where a digest needs their order."""
        count = len(self.ranges)
        if self._whole is not None:
            return (range(count),)
        return tuple(range(place, place + 1) for place in range(count))

    def scan(self, places: range, reader: RangeReader) -> None:
        """Read some ranges in order; the last to end closes the file and reports its result.

        Once a range has failed, those that have not begun are not read.
        """
        try:
            for place in places:
                if self._error is None:
                    self._parts[place] = reader.scan(
                        self._fd, self.task, *self.ranges[place], self._whole
                    )
        except ResumeDaemonError as error:
            self._error = error
        except BaseException as error:
            self._error = error
            raise
        finally:
            with self._lock:
                self._left -= 1
                last = self._left == 0
            if last:
                self._finish()

    def _finish(self) -> None:
        with self._closing:
            try:
                if self._error is None:
                    self._report((self.task, self._result()))
                    return
            except ResumeDaemonError as error:
                self._error = error
        # Anything else is a mistake of ours: it ends the worker, and the caller is told by it.
        if isinstance(self._error, ResumeDaemonError):
            self._report((self.task, self._error))

    def _result(self) -> FileScan:
        """Join the ranges, if the file is still what it was."""
        path, before, after = self.task.path, self._opened, _status(self._fd, self.task.path)
        # Compared with before: some FUSE filesystems count no links at all.
        if before.st_nlink and not after.st_nlink:
            raise VanishedError("read", path, "it was removed while it was read")
        if _identity(before) != _identity(after):
            raise ChangedError("read", path, "it was written to while it was read")
        parts = [part for part in self._parts if part is not None]
        tensors: dict[int, TensorPart] = {}
        records: dict[int, RecordPart] = {}
        for part in parts:
            for place, tensor in part.tensors.items():
                if (known := tensors.setdefault(place, tensor)) is not tensor:
                    known.absorb(tensor)
            for place, record in part.records.items():
                if (joined := records.setdefault(place, record)) is not record:
                    joined.absorb(record)
        return FileScan(
            size=after.st_size,
            mtime_ns=after.st_mtime_ns,
            inode=after.st_ino,
            ranges=tuple(RangeDigest(part.begin, part.end, part.digest) for part in parts),
            # An empty span lies in no range.
            tensors=tuple(
                (tensors.get(place) or TensorPart(span)).statistics()
                for place, span in enumerate(self.task.spans)
            ),
            records=tuple(
                RecordCheck(span.name, span.crc, records[place].crc if place in records else 0)
                for place, span in enumerate(self.task.records)
            ),
            bytes_read=sum(part.end - part.begin for part in parts),
            whole=self._whole.hexdigest() if self._whole is not None else None,
        )


def _status(fd: int, path: Path) -> os.stat_result:
    try:
        return os.fstat(fd)
    except OSError as error:
        raise read_error(error, path) from error


def _identity(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_size, status.st_mtime_ns, status.st_ino
