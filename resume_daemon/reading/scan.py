"""Scan files: digest, CRCs, non-finite values and statistics from one read of each byte.

Workers are threads: reading, hashing and scanning all release the interpreter's lock. They take the
next range of whatever file is next, so that one large file and many small ones both keep all busy.
Where the time of a cached file goes, per core (AMD EPYC with AVX-512): reading 27 GB/s, BLAKE3 10,
the scan 20; so nothing but the number of workers makes it much faster.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TYPE_CHECKING

from resume_daemon.errors import ResumeDaemonError
from resume_daemon.reading.open_file import OpenFile, shared_ranges
from resume_daemon.reading.ranges import RangeReader
from resume_daemon.reading.results import (
    FileScan,
    RangeDigest,
    RecordCheck,
    ScanTask,
    TensorStatistics,
)
from resume_daemon.reading.throttle import Throttle

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Sequence
    from pathlib import Path

    from resume_daemon.formats.tensors import RecordSpan, TensorSpan

__all__ = [
    "FileScan",
    "RangeDigest",
    "ReadOptions",
    "RecordCheck",
    "ScanTask",
    "TensorStatistics",
    "scan_file",
    "scan_files",
]

_SMALLEST = 8
"""Bytes of the widest element: one that is cut by a border is then cut only once."""


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """How files are read.

    Attributes:
        workers: Threads that read at the same time.
        read_bytes: Bytes of one read, and of each worker's only buffer. 512 KiB fit the
            second-level cache and suit one worker; two of them wait for the interpreter's lock at
            every read, and 3 MiB are then a third faster (measured on 2 cores of an AMD EPYC).
        range_bytes: Bytes that one digest covers; part of what a digest means, so leave it alone.
        bytes_per_second: The most that all workers together read; None for no limit.
        keep_page_cache: Whether pages that were not in memory are dropped again after the read.
        give_way: Whether the workers rest while others want the processors.
    """

    workers: int = 2
    read_bytes: int = 3 * 1024 * 1024
    range_bytes: int = 256 * 1024 * 1024
    bytes_per_second: int | None = None
    keep_page_cache: bool = True
    give_way: bool = False

    def __post_init__(self) -> None:
        if self.workers < 1 or min(self.read_bytes, self.range_bytes) < _SMALLEST:
            raise ValueError(f"at least one worker and {_SMALLEST} bytes at a time, not {self}")
        if self.bytes_per_second is not None and self.bytes_per_second < 1:
            raise ValueError("bytes_per_second is a positive number, or None for no limit")

    def throttle(self, workers: int = 1) -> Throttle:
        """Return what as many threads share that read like this."""
        return Throttle(self.bytes_per_second, give_way=self.give_way, workers=workers)


def scan_file(
    path: Path,
    *,
    spans: Sequence[TensorSpan] = (),
    records: Sequence[RecordSpan] = (),
    options: ReadOptions = ReadOptions(),
    cancelled: Callable[[], bool] | threading.Event,
) -> FileScan:
    """Read one file once; its ranges are shared by the workers.

    Raises:
        VanishedError: It is not there (any more).
        ChangedError: It changed while it was read, or is too short for its spans and records.
        CancelledError: ``cancelled`` said so.
        FormatError: It is a link or no regular file.
        ResumeDaemonError: It cannot be read, or the disk failed.
    """
    task = ScanTask(path, tuple(spans), tuple(records))
    for _, result in scan_files((task,), options, cancelled):
        if isinstance(result, ResumeDaemonError):
            raise result
        return result
    raise AssertionError("every task has a result")


def scan_files(
    tasks: Iterable[ScanTask],
    options: ReadOptions = ReadOptions(),
    cancelled: Callable[[], bool] | threading.Event = lambda: False,
    progress: Callable[[int], None] = lambda _: None,
) -> Generator[tuple[ScanTask, FileScan | ResumeDaemonError]]:
    """Read many files once, and yield each task with its result as soon as it is there.

    Every task is yielded once, in no fixed order. One that fails (see ``scan_file``) does not stop
    the others. Close the iterator to stop early; it returns when the workers have. ``progress`` is
    told the bytes of each read, from the worker that made it.
    """
    stopped = threading.Event()
    told = cancelled.is_set if isinstance(cancelled, threading.Event) else cancelled
    results: SimpleQueue[tuple[ScanTask, FileScan | ResumeDaemonError] | None] = SimpleQueue()
    throttle = options.throttle(options.workers)
    ranges = shared_ranges(tasks, options.range_bytes, results.put)
    lock = threading.Lock()

    def next_ranges() -> tuple[OpenFile, range] | None:
        # Files are opened under the lock: a worker that finds nothing to do may then end, as no
        # other is about to find ranges that it could share.
        with lock:
            return next(ranges, None)

    def work() -> None:
        try:
            reader = RangeReader(
                options.read_bytes,
                keep_page_cache=options.keep_page_cache,
                throttle=throttle,
                cancelled=lambda: stopped.is_set() or told(),
                progress=progress,
            )
            while (found := next_ranges()) is not None:
                file, places = found
                file.scan(places, reader)
        finally:
            # Whatever happens: the caller below counts the workers that have ended.
            results.put(None)

    with ThreadPoolExecutor(options.workers, thread_name_prefix="scan") as pool:
        workers = [pool.submit(work) for _ in range(options.workers)]
        try:
            left = len(workers)
            while left:
                if (result := results.get()) is None:
                    left -= 1
                else:
                    yield result
        finally:
            stopped.set()
        for worker in workers:
            worker.result()
