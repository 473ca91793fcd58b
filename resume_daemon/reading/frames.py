"""Chunks that are compressed: decoded a piece at a time, and their values looked at.

They are read a second time, after the digest's pass: a frame has to be decoded from its beginning,
and the ranges of that pass are shared out among workers.
"""

from __future__ import annotations

import os
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from resume_daemon.errors import CancelledError
from resume_daemon.files import open_regular
from resume_daemon.formats.byte_ranges import read_range
from resume_daemon.formats.tensors import TensorSpan
from resume_daemon.formats.zstd_frames import Decompressor
from resume_daemon.reading.page_cache import PageCacheKeeper
from resume_daemon.reading.values import TensorPart

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from resume_daemon.formats.tensors import Frame
    from resume_daemon.reading.results import TensorStatistics
    from resume_daemon.reading.scan import ReadOptions
    from resume_daemon.reading.throttle import Throttle

_PIECE: Final = 1024 * 1024

ALLOWANCE: Final = 16 * 1024 * 1024 * 1024
"""Bytes that the chunks of one file may decode to, and as many times its own size as below.

Nothing forbids a chunk of a terabyte of zeros, which takes 32 MB. Chunks for which nothing is left
are digested only."""

_TIMES: Final = 32


@dataclass(frozen=True, slots=True)
class FrameScan:
    """What one chunk decodes to, or why it does not; offsets in it are those of its values."""

    name: str
    statistics: TensorStatistics | None
    reason: str = ""


def scan_frames(
    path: Path,
    frames: Sequence[Frame],
    options: ReadOptions,
    throttle: Throttle,
    cancelled: Callable[[], bool],
) -> tuple[FrameScan, ...]:
    """Decode every frame of a file once; the throttle is that of all files of a checkpoint.

    Raises:
        CancelledError: ``cancelled`` said so; it is asked before every read.
        ChangedError: The file became shorter meanwhile.
        VanishedError: It is not there.
        ResumeDaemonError: It cannot be read.
    """

    def wait(length: int) -> None:
        throttle.wait(length, cancelled)
        if cancelled():
            raise CancelledError("read", path, "the work was stopped")

    found = []
    with open_regular(path) as fd:
        size = os.fstat(fd).st_size
        left = ALLOWANCE + _TIMES * size
        for frame in frames:
            if frame.size > left:
                found.append(FrameScan(frame.name, None))
                continue
            keeps = options.keep_page_cache and not frame.inline and frame.end <= size
            with PageCacheKeeper(fd, frame.begin, frame.end) if keeps else nullcontext() as keeper:
                scan, decoded = _scan(frame, _pieces(fd, path, frame, wait, keeper), left, wait)
            found.append(scan)
            left -= decoded
    return tuple(found)


def _pieces(
    fd: int,
    path: Path,
    frame: Frame,
    wait: Callable[[int], None],
    keeper: PageCacheKeeper | None,
) -> Iterator[bytes]:
    if frame.inline:
        yield frame.inline
        return
    for offset in range(frame.begin, frame.end, _PIECE):
        until = min(offset + _PIECE, frame.end)
        wait(until - offset)
        if keeper is not None:
            keeper.about_to_read(until)
        yield read_range(fd, offset, until - offset, path)
        if keeper is not None:
            keeper.done(until)


def _scan(
    frame: Frame, pieces: Iterator[bytes], limit: int, wait: Callable[[int], None]
) -> tuple[FrameScan, int]:
    """Return what a chunk decodes to, and how many bytes were decoded for it."""
    span = TensorSpan(frame.name, frame.dtype, frame.shape, 0, frame.size)
    part, inner, position = TensorPart(span), Decompressor(), 0
    try:
        for piece in pieces:
            given = piece
            while True:
                values = inner.feed(given, _PIECE)
                given = b""
                if frame.dtype and position + len(values) > frame.size:
                    raise ValueError("it decodes to more bytes than it should")  # noqa: TRY301
                if values and frame.dtype:
                    part.feed(np.frombuffer(values, np.uint8), position)
                position += len(values)
                if position > limit:
                    return FrameScan(frame.name, None), position
                if inner.hungry:
                    break
                wait(0)
        if not inner.ended:
            raise ValueError("its compression has no end")  # noqa: TRY301 - told as all is
        if frame.dtype and position != frame.size:
            raise ValueError(f"it decodes to {position} of {frame.size} bytes")  # noqa: TRY301
    except ValueError as error:
        return FrameScan(frame.name, None, str(error)), position
    return FrameScan(frame.name, part.statistics() if frame.dtype else None), position
