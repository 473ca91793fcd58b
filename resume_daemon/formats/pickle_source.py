"""Where a pickle is read from: looked at through a window, and long values skipped.

A replay buffer of ten gigabytes is a few thousand instructions around a few arrays. What lies in
an array is not needed to know what loading the pickle would make and run.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from resume_daemon.formats.byte_ranges import read_range

if TYPE_CHECKING:
    from pathlib import Path

_WINDOW: Final = 128 * 1024


class Source(Protocol):
    """What a pickle is read from: ``bytes`` or ``FileSource``."""

    def __len__(self) -> int: ...

    def __getitem__(self, place: slice, /) -> bytes: ...


@dataclass(frozen=True, slots=True, eq=False)
class Left:
    """A text or byte string that was left where it is: offset in its source, and bytes."""

    begin: int
    size: int


class FileSource:
    """A part of an open file, of which one window is in memory.

    Args:
        fd: The file.
        path: Its name, for messages.
        begin: Where the part begins.
        end: Where it ends; None for the end of the file.
    """

    def __init__(self, fd: int, path: Path, begin: int = 0, end: int | None = None) -> None:
        self._fd = fd
        self._path = path
        self._base = begin
        self._size = (os.fstat(fd).st_size if end is None else end) - begin
        self._begin = 0
        self._window = b""

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, place: slice, /) -> bytes:
        begin, end, _ = place.indices(self._size)
        if not self._begin <= begin <= end <= self._begin + len(self._window):
            length = max(min(_WINDOW, self._size - begin), end - begin)
            self._window = read_range(self._fd, self._base + begin, length, self._path)
            self._begin = begin
        return self._window[begin - self._begin : end - self._begin]
