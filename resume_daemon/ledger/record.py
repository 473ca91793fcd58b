"""One ledger record and its encoding: one JSON line that carries the digest of the line before.

Beside the common keys ``seq``, ``at``, ``kind``, ``run`` and ``prev`` each line ends with
``check``, a digest of its own bytes. ``prev`` alone would leave the newest line unguarded until the
next one is written, and the newest line is the one that a crash tears.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from blake3 import blake3

from resume_daemon.errors import LedgerError

if TYPE_CHECKING:
    from collections.abc import Mapping

FIRST_PREV = "0" * 64
"""The ``prev`` of the first record."""

MAX_RECORD_BYTES = 1 << 20
"""Bytes above which a line is neither written nor read: no kind of record comes near."""

_COMMON = ("seq", "at", "kind", "run", "prev")
_RESERVED = frozenset({*_COMMON, "check"})
_CHECK_KEY = b',"check":"'
_CHECK_HEX = 16
_CHECK_TAIL = len(_CHECK_KEY) + _CHECK_HEX + len(b'"}')


@dataclass(frozen=True, slots=True)
class Record:
    """One line of the ledger.

    Attributes:
        seq: Number of the record, from 1, without gaps.
        at: When it was written, UTC, to the microsecond.
        kind: ``verdict``, ``pair``, ``snapshot``, ``drift``, ...; unknown kinds are kept.
        run: The run's name.
        prev: Digest of the line before, or ``FIRST_PREV``.
        fields: Everything else, by key; not to be modified.
        digest: BLAKE3 of the line's bytes without the newline, 64 hex digits.
    """

    seq: int
    at: datetime
    kind: str
    run: str
    prev: str
    fields: Mapping[str, Any]
    digest: str

    def as_json(self) -> dict[str, Any]:
        """Return the keys and values of the line, for ``--json``; ``check`` is left out."""
        common = (self.seq, rfc3339(self.at), self.kind, self.run, self.prev)
        return {**dict(zip(_COMMON, common, strict=True)), **self.fields}


def utc_now() -> datetime:
    """Return the time that a ledger stamps its records with, unless it is given another clock."""
    return datetime.now(UTC)


def rfc3339(moment: datetime) -> str:
    """Return an aware time as UTC, RFC 3339, with microseconds and ``Z``."""
    utc = moment.astimezone(UTC).replace(tzinfo=None)
    return utc.isoformat(timespec="microseconds") + "Z"


def encode(  # noqa: PLR0917 - the arguments stand in the order of the line
    seq: int, at: datetime, kind: str, run: str, prev: str, fields: Mapping[str, Any]
) -> bytes:
    """Return the line, newline included: common keys first, then ``fields`` sorted, then ``check``.

    Raises:
        LedgerError: ``fields`` is no JSON (NaN and infinity are none), uses a common key, or makes
            a line of more than ``MAX_RECORD_BYTES``.
    """
    if taken := _RESERVED & fields.keys():
        raise _unwritable(kind, f"{', '.join(sorted(taken))} are keys of the ledger's own")
    common = zip(_COMMON, (seq, rfc3339(at), kind, run, prev), strict=True)
    try:
        body = _dump(dict(common), sort_keys=False)[:-1]
        if fields:
            body += b"," + _dump(dict(fields), sort_keys=True)[1:-1]
    except (TypeError, ValueError, RecursionError) as error:
        raise _unwritable(kind, f"its fields are no JSON: {error}") from error
    line = body + _CHECK_KEY + _check(body) + b'"}\n'
    if len(line) > MAX_RECORD_BYTES:
        reason = f"it would have {len(line)} bytes; at most {MAX_RECORD_BYTES} are written"
        raise _unwritable(kind, reason)
    return line


def decode(line: bytes) -> Record:
    """Return the record of one line, with or without its newline.

    Raises:
        LedgerError: It is not a whole line that this module wrote; ``reason`` says what is wrong.
    """
    content = line.removesuffix(b"\n")
    if len(content) >= MAX_RECORD_BYTES:
        raise _unreadable(f"it has more than {MAX_RECORD_BYTES} bytes")
    body, tail = content[:-_CHECK_TAIL], content[-_CHECK_TAIL:]
    if tail != _CHECK_KEY + _check(body) + b'"}':
        raise _unreadable("its bytes are not those that were written")
    try:
        fields = json.loads(content)
        del fields["check"]
        seq, at, kind, run, prev = (fields.pop(key) for key in _COMMON)
        moment = datetime.fromisoformat(at)
    except (TypeError, ValueError, KeyError, RecursionError) as error:
        raise _unreadable(f"it is no ledger record: {error!r}") from error
    texts = isinstance(kind, str) and isinstance(run, str) and isinstance(prev, str)
    if type(seq) is not int or not texts or moment.tzinfo is None:
        raise _unreadable("a common key has a value of the wrong type")
    digest = blake3(content).hexdigest()
    return Record(seq, moment, kind, run, prev, MappingProxyType(fields), digest)


def _check(body: bytes) -> bytes:
    return blake3(body).hexdigest()[:_CHECK_HEX].encode()


def _dump(value: dict[str, Any], *, sort_keys: bool) -> bytes:
    def dumped(*, ensure_ascii: bool) -> bytes:
        return json.dumps(
            value,
            sort_keys=sort_keys,
            separators=(",", ":"),
            ensure_ascii=ensure_ascii,
            allow_nan=False,
        ).encode()

    try:
        return dumped(ensure_ascii=False)
    except UnicodeEncodeError:
        # A file name that is no UTF-8 holds lone surrogates; only an escape can carry those.
        return dumped(ensure_ascii=True)


def _unwritable(kind: str, reason: str) -> LedgerError:
    return LedgerError(f"write a {kind} record to the ledger", None, reason)


def _unreadable(reason: str) -> LedgerError:
    return LedgerError("read a ledger record", None, reason)
