"""What a pickle turns into here: plain values, and inert nodes for everything that would run."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


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

    It grows while the pickle is read, as the object would have, and may contain itself. Most
    objects have neither items nor entries, and a sharded checkpoint has a million of them: only
    those that have some keep a list.

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
    items: Sequence[Any] = ()
    entries: Sequence[tuple[Any, Any]] = ()

    def append(self, items: Iterable[Any]) -> None:
        """Note items that would be appended or added."""
        self.items = grown = self.items if isinstance(self.items, list) else []
        grown.extend(items)

    def set(self, pairs: Iterable[tuple[Any, Any]]) -> None:
        """Note keys and values that would be set."""
        self.entries = grown = self.entries if isinstance(self.entries, list) else []
        grown.extend(pairs)


@dataclass(frozen=True, slots=True, eq=False)
class PersistentReference:
    """An object kept outside of the pickle: for torch, a storage."""

    value: Any


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of what one pickle, or one file of several, may cost; beyond them it is not read.

    Measured with the worst pickles that we know (``tests/unit/test_hostile_checkpoints.py``), the
    defaults bound time to 3 s and the process to 350 MiB, whatever the size of the file. An
    optimizer of 20,000 tensors takes 1,500,000 instructions and 60 MiB; the metadata of a sharded
    checkpoint takes 70 instructions and 1.5 KiB for each piece.

    Attributes:
        memory: Bytes that values may take, by the estimate of ``pickle_budget``.
        steps: Instructions, and the steps of work that some of them cause.
        long: Bytes of a text or byte string above which it is left where it is.
        integer: Bytes of one integer, and digits of one that is written as a line.
        name: Characters of the dotted name of something importable.
        references: Different things that it names.
        marks: Marks that are open at the same time.
        depth: Levels of nesting.
        expanded: Values when everything that is shared is counted wherever it is used: a few
            bytes can otherwise stand for a tree that nobody can walk.
        nested: Levels of pickles inside pickles.
    """

    memory: int = 208 * 1024 * 1024
    steps: int = 12_000_000
    long: int = 64 * 1024
    integer: int = 4096
    name: int = 1000
    references: int = 10_000
    marks: int = 1000
    depth: int = 300
    expanded: int = 20_000_000
    nested: int = 2
