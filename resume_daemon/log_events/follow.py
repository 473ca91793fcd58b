"""Follows one log file: what was appended since, also where the file was rotated meanwhile."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from resume_daemon.errors import VanishedError
from resume_daemon.files import open_regular

if TYPE_CHECKING:
    from pathlib import Path

PIECE = 1024 * 1024
"""Bytes of one read."""

FIRST_BYTES = 64 * 1024 * 1024
"""How much of the end of a file is read where it was never read before."""

_LONGEST_REST = 64 * 1024
"""Bytes of a line without an end that are waited for; a longer one is taken as it is."""


@dataclass(frozen=True, slots=True)
class Position:
    """Up to where a file was read.

    Attributes:
        inode: Of the file, so that a rotated one is told from its successor.
        offset: Bytes that were read and need not be read again.
    """

    inode: int
    offset: int


@dataclass(frozen=True, slots=True)
class Piece:
    """What one read gave.

    Attributes:
        lines: Whole lines; invalid bytes stand as U+FFFD.
        position: Where to go on.
        more: Whether more is there already.
    """

    lines: tuple[str, ...]
    position: Position
    more: bool


def read_on(path: Path, known: Position | None) -> Piece | None:
    """Return what is new in a log; None where it is not there.

    A file that was renamed (``train.log`` to ``train.log.1``) is read to its end under its new
    name first, where it is still beside the old one. One that was cut to nothing and written anew
    is read from its beginning.

    Raises:
        ResumeDaemonError: It cannot be read.
    """
    try:
        with open_regular(path) as fd:
            status = os.fstat(fd)
            if known is None:
                start = max(0, status.st_size - FIRST_BYTES)
                return _read(fd, Position(status.st_ino, start), skip_part=start > 0)
            if status.st_ino == known.inode:
                offset = known.offset if known.offset <= status.st_size else 0
                return _read(fd, Position(known.inode, offset))
            fresh = Position(status.st_ino, 0)
    except VanishedError:
        if known is None:
            return None
        fresh = None
    rest = _rest_of_renamed(path, known)
    if rest is not None and (rest.lines or rest.more):
        return replace(rest, more=rest.more or fresh is not None)
    return Piece((), fresh, more=True) if fresh is not None else None


def _rest_of_renamed(path: Path, known: Position) -> Piece | None:
    for entry in _siblings(path):
        if entry.inode() == known.inode and entry.name != path.name:
            try:
                with open_regular(path.with_name(entry.name)) as fd:
                    return _read(fd, known, whole=True)
            except VanishedError:
                return None
    return None


def _siblings(path: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(path.parent) as entries:
            return [entry for entry in entries if entry.name.startswith(path.stem)]
    except OSError:
        return []


def _read(fd: int, begin: Position, *, skip_part: bool = False, whole: bool = False) -> Piece:
    content = os.pread(fd, PIECE, begin.offset)
    end = max(content.rfind(b"\n"), content.rfind(b"\r")) + 1
    if not end and (whole or len(content) > _LONGEST_REST):
        end = len(content)
    taken = content[:end]
    lines = taken.decode(errors="replace").replace("\r", "\n").split("\n")
    if skip_part and lines:
        del lines[0]
    after = Position(begin.inode, begin.offset + end)
    return Piece(tuple(line for line in lines if line), after, more=len(content) == PIECE)
