"""A pickle that stays in its file: read where an instruction looks, and long values skipped.

A replay buffer of ten gigabytes is a few thousand instructions around a few arrays. What lies in
an array is not needed to know what loading the pickle would make and run.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol, overload

from resume_daemon.formats.byte_ranges import read_range
from resume_daemon.formats.inert_values import BeyondBoundError

if TYPE_CHECKING:
    from pathlib import Path

_WINDOW: Final = 1024 * 1024

LONG: Final = 64 * 1024
"""Bytes of a byte string above which it is left in the file."""

HANDED_OUT: Final = 256 * 1024 * 1024
"""Bytes of a file that its values may take in memory, all others being left in it."""


class Source(Protocol):
    """What a pickle is read from: ``bytes`` or ``FileSource``."""

    def __len__(self) -> int: ...

    @overload
    def __getitem__(self, place: int, /) -> int: ...

    @overload
    def __getitem__(self, place: slice, /) -> bytes: ...

    def find(self, wanted: bytes, begin: int, end: int, /) -> int:
        """Return where something stands first between two offsets, or -1."""


@dataclass(frozen=True, slots=True, eq=False)
class Left:
    """A byte string that was left where it is."""

    begin: int
    size: int


class FileSource:
    """The bytes of an open file, of which one window is in memory."""

    def __init__(self, fd: int, path: Path) -> None:
        self._fd = fd
        self._path = path
        self._size = os.fstat(fd).st_size
        self._begin = 0
        self._window = b""
        self._left = HANDED_OUT

    def __len__(self) -> int:
        return self._size

    @overload
    def __getitem__(self, place: int, /) -> int: ...

    @overload
    def __getitem__(self, place: slice, /) -> bytes: ...

    def __getitem__(self, place: int | slice, /) -> int | bytes:
        if isinstance(place, int):
            offset = place - self._begin
            if not 0 <= offset < len(self._window):
                if not 0 <= place < self._size:
                    raise IndexError
                self._look(place, 1)
                offset = place - self._begin
            return self._window[offset]
        begin, end, _ = place.indices(self._size)
        size = max(end - begin, 0)
        self._left -= size
        if self._left < 0:
            raise BeyondBoundError(f"its values take more than {HANDED_OUT} bytes")
        if size > _WINDOW:
            return read_range(self._fd, begin, size, self._path)
        self._look(begin, size)
        return self._window[begin - self._begin : end - self._begin]

    def find(self, wanted: bytes, begin: int, end: int, /) -> int:
        """Return where one byte stands first between two offsets, or -1."""
        while begin < min(end, self._size):
            self._look(begin, 1)
            found = self._window.find(wanted, begin - self._begin, end - self._begin)
            if found >= 0:
                return self._begin + found
            begin = self._begin + len(self._window)
        return -1

    def _look(self, begin: int, size: int) -> None:
        """Have at least ``size`` bytes from an offset in the window; they are in the file."""
        if self._begin <= begin and begin + size <= self._begin + len(self._window):
            return
        length = min(_WINDOW, self._size - begin)
        self._window = read_range(self._fd, begin, length, self._path)
        self._begin = begin
