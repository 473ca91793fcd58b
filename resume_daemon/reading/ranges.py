"""One worker reads one range of a file, and every byte serves all who want it."""

from __future__ import annotations

import errno
import mmap
import os
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from blake3 import blake3

from resume_daemon.errors import CancelledError, ChangedError, ResumeDaemonError
from resume_daemon.files import read_error
from resume_daemon.reading.crc import RecordPart
from resume_daemon.reading.page_cache import PageCacheKeeper
from resume_daemon.reading.values import TensorPart

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from resume_daemon.reading.results import ScanTask
    from resume_daemon.reading.throttle import Throttle


class _Part(Protocol):
    """What ``TensorPart`` and ``RecordPart`` have in common; offsets are those of the file."""

    begin: int
    end: int

    def feed(self, raw: NDArray[np.uint8], offset: int) -> None: ...


class _Hash(Protocol):
    """A digest of ``hashlib`` in the making."""

    def update(self, data: memoryview, /) -> None: ...


@dataclass(frozen=True, slots=True)
class RangeScan:
    """What one range shows; parts are keyed by their place in the task."""

    begin: int
    end: int
    digest: str
    tensors: dict[int, TensorPart]
    records: dict[int, RecordPart]


class RangeReader:
    """One worker's buffer, and the limits that it keeps to."""

    def __init__(
        self,
        read_bytes: int,
        *,
        keep_page_cache: bool,
        throttle: Throttle,
        cancelled: Callable[[], bool],
        progress: Callable[[int], None],
    ) -> None:
        # Reused for every read: fresh memory would be cleared by the kernel first. It begins at a
        # page: into memory that does not, the kernel copies half as fast (8 instead of 18 GB/s on
        # an AMD EPYC), and that of numpy begins 16 bytes after one.
        self._raw = np.frombuffer(mmap.mmap(-1, read_bytes), np.uint8)
        self._buffer = self._raw.data
        self._keep_page_cache = keep_page_cache
        self._throttle = throttle
        self._cancelled = cancelled
        self._progress = progress

    def scan(
        self, fd: int, task: ScanTask, begin: int, end: int, whole: _Hash | None = None
    ) -> RangeScan:
        """Read bytes ``begin`` to ``end`` once; ``whole`` takes them too.

        Raises:
            CancelledError: ``cancelled`` said so; it is asked before every read.
            ChangedError: The file ends before ``end``.
            VanishedError: It is not there any more (network filesystems say so while reading).
            ResumeDaemonError: The disk failed, or it cannot be read.
        """
        tensors = {
            place: TensorPart(span)
            for place, span in enumerate(task.spans)
            if span.begin < end and begin < span.end
        }
        records = {
            place: RecordPart(span.begin, span.end)
            for place, span in enumerate(task.records)
            if span.begin < end and begin < span.end
        }
        waiting: list[_Part] = [*tensors.values(), *records.values()]
        waiting.sort(key=lambda part: part.begin, reverse=True)
        active: list[_Part] = []
        hasher = blake3()
        keeper = PageCacheKeeper(fd, begin, end) if self._keep_page_cache else None
        with keeper or nullcontext():
            for offset in range(begin, end, len(self._raw)):
                until = min(offset + len(self._raw), end)
                self._throttle.wait(until - offset, self._cancelled)
                if self._cancelled():
                    raise CancelledError("read", task.path, "the work was stopped")
                if keeper:
                    keeper.about_to_read(until)
                self._fill(fd, task.path, offset, until - offset)
                if keeper:
                    keeper.done(until)
                hasher.update(self._buffer[: until - offset])
                if whole is not None:
                    whole.update(self._buffer[: until - offset])
                self._progress(until - offset)
                while waiting and waiting[-1].begin < until:
                    active.append(waiting.pop())
                self._share(active, offset, until)
                active = [part for part in active if part.end > until]
        return RangeScan(begin, end, hasher.hexdigest(), tensors, records)

    def _share(self, parts: Sequence[_Part], offset: int, until: int) -> None:
        """Give each part its bytes of what was read."""
        for part in parts:
            first = max(offset, part.begin)
            part.feed(self._raw[first - offset : min(until, part.end) - offset], first)

    def _fill(self, fd: int, path: Path, offset: int, length: int) -> None:
        """Read exactly ``length`` bytes at ``offset`` into the buffer."""
        filled = 0
        try:
            while filled < length:
                got = os.preadv(fd, [self._buffer[filled:length]], offset + filled)
                if not got:
                    raise ChangedError(
                        "read", path, f"it was cut short to {offset + filled} bytes meanwhile"
                    )
                filled += got
        except OSError as error:
            if error.errno == errno.EIO:
                raise ResumeDaemonError(
                    "read",
                    path,
                    f"the disk failed at offset {offset + filled}",
                    hint="Look at the kernel's log, and do not trust this copy of the file.",
                ) from error
            raise read_error(error, path) from error
