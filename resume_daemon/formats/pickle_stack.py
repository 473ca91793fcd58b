"""The reader's state while it goes through a pickle: position, stack, marks, memo, containers.

Every method that meets bad content raises ``ValueError`` with a reason, or ``IndexError`` where
the stack holds too little; the loop over the instructions turns both into a ``FormatError``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from resume_daemon.formats.inert_values import BeyondBoundError, Call
from resume_daemon.formats.pickle_keys import Keys
from resume_daemon.formats.pickle_source import Left

if TYPE_CHECKING:
    from resume_daemon.formats.inert_values import Limits
    from resume_daemon.formats.pickle_source import Source

_ESCAPE: Final = re.compile(rb"\\(x[0-9a-fA-F]{2}|[0-7]{1,3}|[\s\S])")
_ESCAPED: Final = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"a": b"\a", b"b": b"\b", b"f": b"\f"}


class PickleStack:
    """What the instructions of one pickle work on."""

    def __init__(self, data: Source, begin: int, limits: Limits) -> None:
        self.data = data
        self.position = begin
        self.limits = limits
        self.keys = Keys()
        self.stack: list[Any] = []
        self.marked: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.containers = 0

    # Reading the operands.

    def take(self, size: int) -> bytes:
        """Return the next ``size`` bytes."""
        begin, end = self.position, self.position + size
        if end > len(self.data):
            missing = end - len(self.data)
            raise ValueError(f"it is cut short: {missing} bytes of a value are missing")
        self.position = end
        return self.data[begin:end]

    def number(self, size: int) -> int:
        """Return an unsigned integer of ``size`` bytes."""
        return int.from_bytes(self.take(size), "little")

    def counted(self, size: int) -> bytes:
        """Return bytes that follow their length, which takes ``size`` bytes."""
        length = self.number(size)
        if length > self.limits.text:
            raise ValueError(f"a text of {length} bytes is not read")
        return self.take(length)

    def blob(self, size: int) -> bytes | Left:
        """Return a byte string that follows its length, or where it is if it is long."""
        length = self.number(size)
        if length <= self.limits.blob:
            return self.take(length)
        begin, self.position = self.position, self.position + length
        if self.position > len(self.data):
            missing = self.position - len(self.data)
            raise ValueError(f"it is cut short: {missing} bytes of a value are missing")
        return Left(begin, length)

    def line(self) -> bytes:
        """Return the bytes up to the next line feed, without it."""
        end = self.data.find(b"\n", self.position, self.position + self.limits.text)
        if end < 0:
            raise ValueError("it is cut short, or no pickle: a line does not end")
        line = self.data[self.position : end]
        self.position = end + 1
        return line

    # The stack, the memo and the marks.

    def push(self, value: Any) -> None:
        """Push a value that costs little."""
        self.stack.append(value)

    def push_container(self, value: Any) -> None:
        """Push a value that costs memory of its own, and count it."""
        self.containers += 1
        if self.containers > self.limits.containers:
            raise BeyondBoundError(f"it has more than {self.limits.containers} containers")
        self.stack.append(value)

    def mark(self) -> None:
        """Set the stack aside and begin a new one."""
        self.push_container(None)
        self.stack.pop()
        self.marked.append(self.stack)
        self.stack = []

    def since_mark(self) -> list[Any]:
        """Return what was pushed since the last mark, and take up the stack before it."""
        items = self.stack
        self.stack = self.marked.pop()
        return items

    def pop(self) -> None:
        """Drop the last value, or the mark where nothing lies above it."""
        if self.stack:
            self.stack.pop()
        else:
            self.since_mark()

    def put(self, index: int) -> None:
        """Remember the last value."""
        if index < 0:
            raise ValueError("a memo index is negative")
        if len(self.memo) >= self.limits.memo:
            raise BeyondBoundError(f"it remembers more than {self.limits.memo} values")
        self.memo[index] = self.stack[-1]

    def get(self, index: int) -> None:
        """Push a value that was remembered."""
        if index not in self.memo:
            raise ValueError(f"it recalls value {index}, which it never remembered")
        self.stack.append(self.memo[index])

    # Scalars.

    def int_line(self) -> None:
        """Push an integer, or a truth value, written as a line."""
        line = self.line()
        self.push({b"00": False, b"01": True}[line] if line in (b"00", b"01") else int(line))

    def long(self, size: int) -> None:
        """Push a signed integer that follows its length."""
        length = int.from_bytes(self.take(size), "little", signed=True)
        if not 0 <= length <= self.limits.integer:
            raise ValueError(f"an integer of {length} bytes is not read")
        self.push(int.from_bytes(self.take(length), "little", signed=True))

    def old_text(self, content: bytes) -> None:
        """Push a Python 2 ``str``: text where it is ASCII, bytes where it is not."""
        self.push(content.decode() if content.isascii() else content)

    def quoted(self) -> None:
        """Push a Python 2 ``str`` written as its representation."""
        line = self.line().strip()
        if len(line) < 2 or line[0] != line[-1] or line[:1] not in (b"'", b'"'):  # noqa: PLR2004 - two quotes.
            raise ValueError("a quoted text has no quotes")
        self.old_text(_ESCAPE.sub(_unescape, line[1:-1]))

    # Containers.

    def append_all(self, items: list[Any]) -> None:
        """Append to the list, or the inert object, on top."""
        target = self.stack[-1]
        if isinstance(target, list):
            target.extend(items)
        elif isinstance(target, Call):
            target.items.extend(items)
        else:
            raise ValueError(f"it appends to a {type(target).__name__}")  # noqa: TRY004 - bad content.

    def fill(self, target: Any, items: list[Any]) -> None:
        """Set the alternating keys and values of ``items`` in a dict."""
        if len(items) % 2:
            raise ValueError("a key has no value")
        pairs = zip(items[::2], items[1::2], strict=True)
        if isinstance(target, Call):
            target.entries.extend(pairs)
        elif isinstance(target, dict):
            for key, value in pairs:
                self.keys.check(target, key)
                target[key] = value
        else:
            raise ValueError(f"it sets entries of a {type(target).__name__}")  # noqa: TRY004 - bad content.

    def set_items(self) -> None:
        """Set the pairs since the mark in the dict below it."""
        items = self.since_mark()
        self.fill(self.stack[-1], items)

    def set_item(self) -> None:
        """Set one pair in the dict below it."""
        value, key = self.stack.pop(), self.stack.pop()
        self.fill(self.stack[-1], [key, value])

    def make_dict(self) -> None:
        """Push a dict of the pairs since the mark."""
        result: dict[Any, Any] = {}
        self.fill(result, self.since_mark())
        self.push_container(result)

    def add_items(self) -> None:
        """Add what follows the mark to the set below it."""
        items = self.since_mark()
        target = self.stack[-1]
        if isinstance(target, Call):
            target.items.extend(items)
        elif isinstance(target, set):
            for item in items:
                self.keys.check(target, item)
                target.add(item)
        else:
            raise ValueError(f"it adds to a {type(target).__name__}")  # noqa: TRY004 - bad content.

    def make_frozenset(self) -> None:
        """Push a frozenset of what follows the mark."""
        items = self.since_mark()
        for item in items:
            self.keys.check(items, item)
        self.push_container(frozenset(items))

    def make_tuple(self, length: int) -> None:
        """Push a tuple of the last ``length`` values."""
        if len(self.stack) < length:
            raise IndexError
        items = tuple(self.stack[-length:])
        del self.stack[-length:]
        self.push_container(items)


def _unescape(found: re.Match[bytes]) -> bytes:
    escape = found[1]
    if escape[:1] == b"x" and len(escape) > 1:
        return bytes([int(escape[1:], 16)])
    if escape[:1].isdigit() and escape[:1] < b"8":
        return bytes([int(escape, 8) & 0xFF])
    return _ESCAPED.get(escape, escape)
