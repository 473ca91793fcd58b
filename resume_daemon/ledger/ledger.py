"""The ledger's single writer: appends records, each flushed to disk before anybody acts on it.

Source of the order of things: after a failed flush Linux marks the pages clean, so a second
``fsync`` may succeed with the data lost (PostgreSQL's "fsyncgate" of 2018). Hence a failed append
is cut off and written anew, never just flushed again.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from resume_daemon.errors import LedgerError
from resume_daemon.files import flush_directory, write_all
from resume_daemon.ledger.chain import why_not_next
from resume_daemon.ledger.reader import read_records
from resume_daemon.ledger.record import (
    FIRST_PREV,
    MAX_RECORD_BYTES,
    Record,
    decode,
    encode,
    utc_now,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from datetime import datetime
    from pathlib import Path

_WINDOW = 2 * MAX_RECORD_BYTES
_FULL = {errno.ENOSPC, errno.EDQUOT}


@dataclass(frozen=True, slots=True)
class TornTail:
    """What the end of a ledger held beyond its last good record, and where it was put."""

    path: Path
    size: int
    reason: str


class Ledger:
    """The append-only record of one run; at most one object per file may be open.

    Attributes:
        path: The file.
        run: The name that new records carry.
        last: The newest record, or None.
        torn: What was set aside on opening, or None; the daemon reports it.
    """

    def __init__(self, path: Path, run: str, fd: int, clock: Callable[[], datetime]) -> None:
        self.path = path
        self.run = run
        self.last: Record | None = None
        self.torn: TornTail | None = None
        self._fd = fd
        self._clock = clock
        self._size = 0
        self._uncut = False

    @classmethod
    def open(cls, path: Path, run: str, clock: Callable[[], datetime] = utc_now) -> Self:
        """Create the ledger, or take over the one that is there.

        Only the last 2 MiB are checked. What does not hold together there (a line that a crash
        tore, zeros that a power cut left) is first copied to ``<name>.torn-<UTC time>.jsonl``
        beside the ledger, flushed and compared, and only then cut off.

        Raises:
            LedgerError: The file cannot be opened, or no record is found at its end.
        """
        flags = os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            try:
                fd = os.open(path, flags)
            except FileNotFoundError:
                fd = os.open(path, flags | os.O_CREAT, 0o644)
                flush_directory(path.parent)
        except OSError as error:
            raise _failed("open the ledger", path, error) from error
        try:
            ledger = cls(path, run, fd, clock)
            ledger._take_over()
        except OSError as error:
            os.close(fd)
            raise _failed("take over the ledger", path, error) from error
        except BaseException:
            os.close(fd)
            raise
        return ledger

    def append(self, kind: str, /, **fields: Any) -> Record:
        """Write one record and flush it; when this returns, a power cut does not lose it.

        Raises:
            LedgerError: As ``append_many``.
        """
        return self.append_many([(kind, fields)])[0]

    def append_many(self, records: Iterable[tuple[str, Mapping[str, Any]]]) -> tuple[Record, ...]:
        """Write records with one write and one flush: all of them, or none.

        Raises:
            LedgerError: The disk is full or fails, in which case the file is as it was before and
                the same call may be tried again later; or a record is no JSON; or somebody else
                changed or replaced the file, in which case the ledger must be opened anew.
        """
        lines: list[bytes] = []
        written: list[Record] = []
        before = self.last
        for kind, fields in records:
            seq, prev = (before.seq + 1, before.digest) if before else (1, FIRST_PREV)
            lines.append(encode(seq, self._clock(), kind, self.run, prev, fields))
            before = decode(lines[-1])
            written.append(before)
        if not written:
            return ()
        self._write(b"".join(lines))
        self.last = before
        return tuple(written)

    def records(self, after_seq: int = 0) -> Iterator[Record]:
        """Yield the records with a ``seq`` above ``after_seq``; see ``reader.read_records``."""
        return read_records(self.path, after_seq)

    def close(self) -> None:
        """Close the file; every record is on disk already. A second call does nothing."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _write(self, content: bytes) -> None:
        operation = "append to the ledger"
        if self._fd < 0:
            raise LedgerError(operation, self.path, "it was closed")
        try:
            self._cut_back()
            self._refuse_foreign_change()
        except OSError as error:
            raise _failed(operation, self.path, error) from error
        try:
            self._uncut = True
            write_all(self._fd, content)
            os.fdatasync(self._fd)
        except OSError as error:
            with suppress(OSError):  # Tried again before the next append.
                self._cut_back()
            raise _failed(operation, self.path, error) from error
        self._uncut = False
        self._size += len(content)

    def _refuse_foreign_change(self) -> None:
        own = os.fstat(self._fd)
        try:
            named = self.path.lstat()
        except FileNotFoundError:
            named = None
        if named is None or (named.st_dev, named.st_ino) != (own.st_dev, own.st_ino):
            reason = "the file was removed or replaced"
        elif own.st_size != self._size:
            reason = f"somebody else wrote to it: it has {own.st_size} bytes, not {self._size}"
        else:
            return
        raise LedgerError(
            "append to the ledger",
            self.path,
            reason,
            hint="Stop the other writer (is a second daemon running?) and restart this one.",
        )

    def _cut_back(self) -> None:
        """Cut off what a failed append left, so that the chain stays whole."""
        if self._uncut:
            os.ftruncate(self._fd, self._size)
            os.fdatasync(self._fd)
            self._uncut = False

    def _take_over(self) -> None:
        status = os.fstat(self._fd)
        if not stat.S_ISREG(status.st_mode):
            raise LedgerError("take over the ledger", self.path, "it is not a regular file")
        self._size = status.st_size
        start = max(0, self._size - _WINDOW)
        window = _read_exactly(self._fd, start, self._size - start)
        if start:
            # The first piece is the end of a line that starts before the window.
            cut = window.find(b"\n") + 1
            start, window = start + cut, window[cut:]
        good, reason = self._follow(window, from_start=start == 0)
        if self.last is None and (start or (window and good == 0 and b"\n" in window)):
            raise LedgerError(
                "take over the ledger",
                self.path,
                f"no record is found at its end ({reason})",
                hint="Move the file away if it is no ledger of this program, then restart.",
            )
        if good < len(window):
            self._set_aside(window[good:], start + good, reason)

    def _follow(self, window: bytes, *, from_start: bool) -> tuple[int, str]:
        """Follow the chain; return the length of the prefix that holds, and why it ends there."""
        good = 0
        while (end := window.find(b"\n", good)) >= 0:
            try:
                record = decode(window[good:end])
            except LedgerError as error:
                return good, error.reason
            if (self.last or from_start) and (reason := why_not_next(record, self.last)):
                return good, reason
            self.last = record
            good = end + 1
        return good, "the last line has no end"

    def _set_aside(self, content: bytes, offset: int, reason: str) -> None:
        stamp = self._clock().strftime("%Y%m%dT%H%M%S.%fZ")
        aside = self.path.with_name(f"{self.path.stem}.torn-{stamp}{self.path.suffix}")
        fd = os.open(aside, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        try:
            write_all(fd, content)
            os.fsync(fd)
            same = _read_exactly(fd, 0, len(content)) == content
        except BaseException:
            aside.unlink(missing_ok=True)
            raise
        finally:
            os.close(fd)
        if not same:
            raise LedgerError("set a torn line aside in", aside, "it reads back differently")
        flush_directory(aside.parent)
        os.ftruncate(self._fd, offset)
        os.fsync(self._fd)
        self._size = offset
        self.torn = TornTail(aside, len(content), reason)


def _read_exactly(fd: int, offset: int, size: int) -> bytes:
    pieces: list[bytes] = []
    while size > 0 and (piece := os.pread(fd, size, offset)):
        pieces.append(piece)
        offset += len(piece)
        size -= len(piece)
    return b"".join(pieces)


def _failed(operation: str, path: Path, error: OSError) -> LedgerError:
    hint = "Nothing that was recorded before is lost."
    if error.errno in _FULL:
        hint = f"Free space or raise the quota; it is tried again. {hint}"
    elif error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        hint = "Give the daemon's user write permission, or set state_dir to a writable place."
    elif error.errno == errno.ENOENT:
        hint = "Its directory is missing; is the run still there?"
    return LedgerError(operation, path, error.strerror or str(error), hint=hint)
