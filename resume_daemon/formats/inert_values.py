"""What a pickle turns into here: plain values, and inert nodes for everything that would run."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final


class BeyondBoundError(ValueError):
    """It is larger than is read here, which says nothing of whether it is damaged."""


class How(StrEnum):
    """What loading a pickle would do with something that it names, the gravest first."""

    CALL = "call"
    NEW = "new"
    MENTION = "mention"


COMPUTED: Final = "<computed>"
"""Pseudo module of a reference that the pickle computes, so that no name tells what it is."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A module and name that a pickle would import, and what it would do with it.

    Attributes:
        module: Module, by its Python 3 name; ``COMPUTED`` where no name tells.
        name: Qualified name in it; for ``COMPUTED`` a sentence that says what would run.
        how: ``call``: it is called with arguments of the pickle's choice; ``new``: an object of
            the class is made without its constructor, and given its state; ``mention``: it is
            imported and stored.
    """

    module: str
    name: str
    how: How


@dataclass(frozen=True, slots=True)
class GlobalReference:
    """Something importable that a pickle pushes: a class, a function, an element type."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(slots=True, eq=False)
class Call:
    """An object that loading would have made by a call, with all that it would have been given.

    It grows while the pickle is read, as the object would have, and may contain itself.

    Attributes:
        function: What would be called: a ``GlobalReference``, or any value of a hostile pickle.
        arguments: Positional arguments.
        how: ``call``, or ``new`` where ``function`` is a class whose constructor is bypassed.
        keywords: Keyword arguments (opcode ``NEWOBJ_EX`` alone has them).
        state: What ``__setstate__`` or the attributes would get: often a dict.
        items: What would be appended, or added to a set.
        entries: Keys and values that would be set.
    """

    function: Any
    arguments: tuple[Any, ...]
    how: How
    keywords: dict[Any, Any] | None = None
    state: Any = None
    items: list[Any] = field(default_factory=list)
    entries: list[tuple[Any, Any]] = field(default_factory=list)


@dataclass(frozen=True, slots=True, eq=False)
class PersistentReference:
    """An object kept outside of the pickle: for torch, a storage."""

    value: Any


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one pickle; beyond any of them it is refused.

    Every opcode leaves at most one value on the stack and one entry in the memo, so ``opcodes``
    bounds both, as well as the time; the defaults bound memory to about a gigabyte.

    Attributes:
        size: Bytes of the pickle.
        opcodes: Instructions (an optimizer of 2,000 tensors takes about 150,000).
        memo: Values remembered for reuse.
        containers: Lists, dicts, sets, tuples, calls and marks.
        text: Bytes of one text; a byte string that is longer than ``blob`` is left where it is.
        blob: Bytes of one byte string.
        integer: Bytes of one integer.
        depth: Levels of nesting.
        expanded: Values when everything that is shared is counted wherever it is used: a few
            bytes can otherwise stand for a tree that nobody can walk.
        nested: Levels of pickles inside pickles.
    """

    size: int = 256 * 1024 * 1024
    opcodes: int = 10_000_000
    memo: int = 4_000_000
    containers: int = 4_000_000
    text: int = 64 * 1024 * 1024
    blob: int = 64 * 1024 * 1024
    integer: int = 4096
    depth: int = 300
    expanded: int = 20_000_000
    nested: int = 2
