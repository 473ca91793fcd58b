"""Whether the lines of a ledger hold together; pure over lines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from resume_daemon.errors import LedgerError
from resume_daemon.ledger.record import FIRST_PREV, Record, decode

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, slots=True)
class Break:
    """The first place where a chain does not hold.

    Attributes:
        line: Number of the line, from 1.
        seq: The ``seq`` that was expected there.
        reason: What is wrong, in words.
    """

    line: int
    seq: int
    reason: str


@dataclass(frozen=True, slots=True)
class ChainReport:
    """What ``verify`` found.

    Attributes:
        records: Number of records before the first break, or of all of them.
        last: The last of those records, or None. A ledger whose newest lines were cut off holds
            together; only somebody who remembers ``last`` (the index does) can tell.
        first_break: The first break, or None. Nothing after it was looked at.
        torn_tail_bytes: Bytes of a last line without a newline: one that is being written right
            now, or that a crash tore. It is no break.
    """

    records: int
    last: Record | None
    first_break: Break | None
    torn_tail_bytes: int


def why_not_next(record: Record, before: Record | None) -> str | None:
    """Return why ``record`` cannot follow ``before`` (None: be the first), or None if it does."""
    seq, prev = (before.seq + 1, before.digest) if before else (1, FIRST_PREV)
    if record.seq != seq:
        return f"seq is {record.seq} where {seq} was expected: a line is missing, double or moved"
    if record.prev != prev:
        return "prev is not the digest of the line before: that line was changed or replaced"
    return None


def verify(lines: Iterable[bytes]) -> ChainReport:
    """Check every line up to the first break; kinds are not looked at.

    Args:
        lines: The lines in order, each with its newline; one without is a torn tail.
    """
    last: Record | None = None
    records = 0
    for number, line in enumerate(lines, start=1):
        if not line.endswith(b"\n"):
            return ChainReport(records, last, None, len(line))
        try:
            record = decode(line)
            reason = why_not_next(record, last)
        except LedgerError as error:
            reason = error.reason
        if reason:
            return ChainReport(records, last, Break(number, last.seq + 1 if last else 1, reason), 0)
        last = record
        records += 1
    return ChainReport(records, last, None, 0)
