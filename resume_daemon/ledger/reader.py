"""Reading a ledger without writing to it, beside the daemon that does.

The last line may be half written at this very moment; it is left for the next read.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from resume_daemon.errors import LedgerError
from resume_daemon.files import open_regular, read_error
from resume_daemon.ledger.record import MAX_RECORD_BYTES, Record, decode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

TAIL_LIMIT = 1000
"""Records that one ``tail`` returns at most."""

_BLOCK = 1 << 16
_SEQ = re.compile(rb'\{"seq":(\d{1,18}),')


def read_lines(path: Path, offset: int = 0) -> Iterator[bytes]:
    """Yield the lines from a byte offset on, each with its newline; a torn last line has none.

    An overlong line is cut at ``MAX_RECORD_BYTES`` and ends the iteration, so that memory stays
    bounded; ``decode`` refuses it.

    Raises:
        VanishedError: There is no ledger.
        ResumeDaemonError: It cannot be read.
    """
    with open_regular(path) as fd:
        rest = b""
        while piece := _read(fd, path, offset):
            offset += len(piece)
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                yield line + b"\n"
            if len(rest) > MAX_RECORD_BYTES:
                break
        if rest:
            yield rest


def read_records(
    path: Path, after_seq: int = 0, *, on_damage: Callable[[LedgerError], None] | None = None
) -> Iterator[Record]:
    """Yield the records with a ``seq`` above ``after_seq``, one at a time.

    What is skipped is found by bisection, not read. Each record's own bytes are checked, the chain
    between records is not: that is ``chain.verify``.

    Args:
        path: The ledger.
        after_seq: The newest ``seq`` that is already known.
        on_damage: Told of each line that is no record, which is then skipped; without it such a
            line raises.

    Raises:
        LedgerError: A line is no record, and ``on_damage`` was not given.
        VanishedError: There is no ledger.
        ResumeDaemonError: It cannot be read.
    """
    for line in read_lines(path, _offset_of(path, after_seq)):
        if not line.endswith(b"\n") and len(line) <= MAX_RECORD_BYTES:
            return
        try:
            record = decode(line)
        except LedgerError as error:
            damage = _damage(path, f"a line after record {after_seq}", error)
            if on_damage is None:
                raise damage from error
            on_damage(damage)
            continue
        if record.seq > after_seq:
            yield record
            after_seq = record.seq


def tail(path: Path, after: int, *, limit: int = TAIL_LIMIT) -> tuple[Record, ...]:
    """Return at most ``limit`` records that were written after ``seq`` ``after``, oldest first.

    Raises:
        LedgerError: A line is damaged.
        VanishedError: There is no ledger.
        ResumeDaemonError: It cannot be read.
    """
    found: list[Record] = []
    if limit > 0:
        for record in read_records(path, after):
            found.append(record)
            if len(found) == limit:
                break
    return tuple(found)


def last_record(path: Path) -> Record | None:
    """Return the newest whole record, or None where there is none yet; reads only the end.

    Raises:
        LedgerError: The last whole line is damaged.
        VanishedError: There is no ledger.
        ResumeDaemonError: It cannot be read.
    """
    with open_regular(path) as fd:
        size = os.fstat(fd).st_size
        window = _BLOCK
        while True:
            start = max(0, size - window)
            lines = _read(fd, path, start, size - start).split(b"\n")[:-1]
            # The first piece may be the end of a line that starts before the window.
            if len(lines) > 1 or (lines and start == 0):
                try:
                    return decode(lines[-1])
                except LedgerError as error:
                    raise _damage(path, "its last line", error) from error
            if start == 0 or window > 2 * MAX_RECORD_BYTES:
                return None
            window *= 2


def _offset_of(path: Path, after_seq: int) -> int:
    """Return the offset of a line at or shortly before the record that follows ``after_seq``.

    ``seq`` rises along the file, so the place is bisected. Where a line does not look as expected
    the search ends at the best place known, and the caller reads a little more.
    """
    if after_seq <= 0:
        return 0
    with open_regular(path) as fd:
        low, high = 0, os.fstat(fd).st_size
        while high - low > _BLOCK:
            middle = (low + high) // 2
            piece = _read(fd, path, middle)
            newline = piece.find(b"\n")
            match = _SEQ.match(piece, newline + 1)
            if newline < 0 or match is None:
                break
            if int(match[1]) > after_seq:
                high = middle
            else:
                low = middle + newline + 1
    return low


def _read(fd: int, path: Path, offset: int, size: int = _BLOCK) -> bytes:
    try:
        return os.pread(fd, size, offset)
    except OSError as error:
        raise read_error(error, path) from error


def _damage(path: Path, line: str, error: LedgerError) -> LedgerError:
    hint = "Run `resume-daemon ledger verify` to see where."
    return LedgerError("read the ledger", path, f"{line} is damaged: {error.reason}", hint=hint)
