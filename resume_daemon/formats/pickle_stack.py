"""The reader's state while it goes through a pickle: position, stack, marks, memo, containers.

Every method that meets bad content raises ``ValueError`` with a reason, or ``IndexError`` where
the stack holds too little; the loop over the instructions turns both into a ``FormatError``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from resume_daemon.formats.expansion import CONTAINERS
from resume_daemon.formats.inert_values import Call
from resume_daemon.formats.pickle_budget import (
    DICT,
    ENTRY,
    LIST,
    MEMBER,
    NUMBER,
    RARE,
    SET,
    SHARED,
    SLOT,
    TEXT,
    TUPLE,
)
from resume_daemon.formats.pickle_keys import Keys
from resume_daemon.formats.pickle_source import Left

if TYPE_CHECKING:
    from resume_daemon.formats.inert_values import Limits
    from resume_daemon.formats.pickle_budget import Budget
    from resume_daemon.formats.pickle_source import Source

_ESCAPE: Final = re.compile(rb"\\(x[0-9a-fA-F]{2}|[0-7]{1,3}|[\s\S])")
_LONGEST_LINE: Final = 64 * 1024
_PASSED_OVER: Final = 100
"""Steps that it costs to read on at another place of the file."""

_ESCAPED: Final = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"a": b"\a", b"b": b"\b", b"f": b"\f"}


class PickleStack:
    """What the instructions of one pickle work on.

    Attributes:
        position: Offset in the source of what is read next.
        instruction: Offset of the last instruction of a window.
        stack: Values above the last mark; ``marked`` has those below each mark.
        memo: Values that are remembered, as long as they are numbered one after another, as
            picklers do; ``far`` has those with other numbers.
        shared: Identities of the containers that stand in more than one place: those that were
            recalled from the memo, duplicated, or taken out of something that was.
    """

    def __init__(self, source: Source, begin: int, limits: Limits, budget: Budget) -> None:
        self.source = source
        self.size = len(source)
        self.position = begin
        self.instruction = begin
        self.limits = limits
        self.budget = budget
        self.keys = Keys(budget)
        self.stack: list[Any] = []
        self.marked: list[list[Any]] = []
        self.memo: list[Any] = []
        self.far: dict[int, Any] = {}
        self.shared: set[int] = set()

    # Reading the operands.

    def take(self, size: int) -> bytes:
        """Return the next ``size`` bytes, which the caller has bounded."""
        self.skip(size)
        return self.source[self.position - size : self.position]

    def skip(self, size: int) -> None:
        """Pass over the next ``size`` bytes."""
        end = self.position + size
        if end > self.size:
            raise ValueError(f"it is cut short: {end - self.size} bytes of a value are missing")
        self.position = end

    def number(self, size: int) -> int:
        """Return an unsigned integer of ``size`` bytes."""
        return int.from_bytes(self.take(size), "little")

    def counted(self, size: int) -> bytes | Left:
        """Return bytes that follow their length, or where they are if they are many."""
        length = self.number(size)
        begin = self.position
        if length > self.limits.long:
            self.skip(length)
            self.budget.charge(TEXT, _PASSED_OVER)
            return Left(begin, length)
        self.budget.charge(TEXT + length)
        return self.take(length)

    def text(self, size: int) -> str | Left:
        """Return a text that follows its length in bytes, or where it is if it is long."""
        content = self.counted(size)
        if isinstance(content, Left):
            return content
        found = content.decode("utf-8", "surrogatepass")
        if not content.isascii():
            # One wide character makes all of them wide (PEP 393).
            self.budget.charge(4 * len(found))
        return found

    def line(self) -> bytes:
        """Return the bytes up to the next line feed, without it."""
        begin = self.position
        for length in (256, _LONGEST_LINE):
            found = self.source[begin : begin + length]
            if (end := found.find(b"\n")) >= 0:
                self.position = begin + end + 1
                self.budget.charge(TEXT + end)
                return found[:end]
        raise ValueError("it is cut short, or no pickle: a line does not end")

    def digits(self) -> bytes:
        """Return a line that holds a number."""
        line = self.line()
        if len(line) > self.limits.integer:
            raise ValueError(f"a number of {len(line)} digits is not read")
        return line

    # The stack, the memo and the marks.

    def push(self, value: Any, memory: int = 0) -> None:
        """Push a value that takes so much memory beyond its place."""
        self.budget.charge(memory)
        self.stack.append(value)

    def mark(self) -> None:
        """Set the stack aside and begin a new one."""
        if len(self.marked) >= self.limits.marks:
            raise ValueError(f"it has more than {self.limits.marks} marks at the same time")
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

    def duplicate(self) -> None:
        """Push the last value once more."""
        self.push(self.share(self.stack[-1]))

    def share(self, value: Any) -> Any:
        """Note that a value stands in more than one place, and return it."""
        if type(value) in CONTAINERS and id(value) not in self.shared:
            self.budget.charge(SHARED)
            self.shared.add(id(value))
        return value

    def memoize(self) -> None:
        """Remember the last value under the next number."""
        self.put(len(self.memo) + len(self.far))

    def put(self, index: int) -> None:
        """Remember the last value."""
        value = self.stack[-1]
        if index < 0:
            raise ValueError("a memo index is negative")
        if index == len(self.memo):
            self.far.pop(index, None)
            self.budget.charge(SLOT)
            self.memo.append(value)
        elif index < len(self.memo):
            # What was remembered before may be what made others stand in two places.
            self.memo[index] = value
        else:
            self.budget.charge(RARE)
            self.far[index] = value

    def get(self, index: int) -> None:
        """Push a value that was remembered."""
        if 0 <= index < len(self.memo):
            value = self.memo[index]
        elif index in self.far:
            value = self.far[index]
        else:
            raise ValueError(f"it recalls value {index}, which it never remembered")
        self.stack.append(self.share(value))

    # Scalars.

    def int_line(self) -> None:
        """Push an integer, or a truth value, written as a line."""
        line = self.digits()
        self.push({b"00": False, b"01": True}[line] if line in (b"00", b"01") else int(line))

    def long(self, size: int) -> None:
        """Push a signed integer that follows its length."""
        length = int.from_bytes(self.take(size), "little", signed=True)
        if not 0 <= length <= self.limits.integer:
            raise ValueError(f"an integer of {length} bytes is not read")
        number = int.from_bytes(self.take(length), "little", signed=True)
        self.push(number, NUMBER + length)

    def old_text(self, content: bytes | Left) -> None:
        """Push a Python 2 ``str``: text where it is ASCII, bytes where it is not."""
        if isinstance(content, bytes) and content.isascii():
            self.push(content.decode())
        else:
            self.push(content)

    def raw_text(self) -> None:
        """Push a text written as a line."""
        content = self.line()
        self.push(content.decode("raw-unicode-escape"), 4 * len(content))

    def mutable(self) -> None:
        """Push a ``bytearray`` that follows its length."""
        content = self.counted(8)
        self.push(content if isinstance(content, Left) else bytearray(content), TEXT)

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
        self.budget.charge(SLOT * len(items))
        if isinstance(target, list):
            target.extend(items)
        elif isinstance(target, Call):
            target.append(items)
        else:
            raise ValueError(f"it appends to a {type(target).__name__}")  # noqa: TRY004 - bad content.

    def fill(self, target: Any, items: list[Any]) -> None:
        """Set the alternating keys and values of ``items`` in a dict."""
        if len(items) % 2:
            raise ValueError("a key has no value")
        self.budget.charge(ENTRY * len(items) // 2)
        if type(target) is dict:
            pairs = iter(items)
            for key in pairs:
                if type(key) is not str:
                    self.keys.check(target, key)
                target[key] = next(pairs)
        elif isinstance(target, Call):
            target.set(zip(items[::2], items[1::2], strict=True))
        else:
            raise ValueError(f"it sets entries of a {type(target).__name__}")

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
        self.push(result, DICT)

    def add_items(self) -> None:
        """Add what follows the mark to the set below it."""
        items = self.since_mark()
        target = self.stack[-1]
        self.budget.charge(MEMBER * len(items))
        if isinstance(target, Call):
            target.append(items)
        elif isinstance(target, set):
            for item in items:
                self.keys.check(target, item)
                target.add(item)
        else:
            raise ValueError(f"it adds to a {type(target).__name__}")  # noqa: TRY004 - bad content.

    def make_frozenset(self) -> None:
        """Push a frozenset of what follows the mark."""
        items = self.since_mark()
        self.budget.charge(SET + MEMBER * len(items))
        keys = Keys(self.budget)
        for item in items:
            keys.check(items, item)
        self.push(frozenset(items))

    def make_list(self) -> None:
        """Push a list of what follows the mark."""
        items = self.since_mark()
        self.push(items, LIST + SLOT * len(items))

    def make_tuple_since_mark(self) -> None:
        """Push a tuple of what follows the mark."""
        items = self.since_mark()
        self.push(tuple(items), TUPLE + SLOT * len(items))

    def make_tuple(self, length: int) -> None:
        """Push a tuple of the last ``length`` values."""
        if len(self.stack) < length:
            raise IndexError
        items = tuple(self.stack[-length:])
        del self.stack[-length:]
        self.push(items, TUPLE)


def _unescape(found: re.Match[bytes]) -> bytes:
    escape = found[1]
    if escape[:1] == b"x" and len(escape) > 1:
        return bytes([int(escape[1:], 16)])
    if escape[:1].isdigit() and escape[:1] < b"8":
        return bytes([int(escape, 8) & 0xFF])
    return _ESCAPED.get(escape, escape)
