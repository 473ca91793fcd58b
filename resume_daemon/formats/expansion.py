"""How large a value is to somebody who walks it, where what is shared counts wherever it is."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from resume_daemon.formats.inert_values import Call, PersistentReference

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

CONTAINERS: Final = frozenset({dict, list, tuple, set, frozenset, Call, PersistentReference})
"""Types of what holds other values; all are made by us, so none is a subclass."""


def children(node: Any) -> Iterable[Any]:
    """Return the values directly inside a container or an inert node."""
    kind = type(node)
    if kind is dict:
        return chain(node, node.values())
    if kind is Call:
        own = (node.function, node.arguments, node.keywords, node.state, node.items)
        return chain(own, chain.from_iterable(node.entries)) if node.entries else own
    if kind is PersistentReference:
        return (node.value,)
    found: Iterable[Any] = node
    return found


def check_expansion(value: Any, shared: Collection[int], *, depth: int, expanded: int) -> None:
    """Return if a recursive walk over ``value`` ends soon; what contains itself counts once there.

    One visit to each container: time grows with the pickle, and memory with what is shared in it.

    Args:
        value: What was pickled.
        shared: Identities of the containers that stand in more than one place; others may be
            among them.
        depth: The most levels; this many calls of a function are on the stack.
        expanded: The most values.

    Raises:
        ValueError: It is nested deeper than ``depth``, or larger than ``expanded`` values.
    """
    # Of each shared container: levels below it, and values in it. None: it is being walked.
    measured: dict[int, tuple[int, int] | None] = {id(value): None}
    too_deep = ValueError(f"it is nested deeper than {depth} levels")

    def measure(node: Any, level: int) -> tuple[int, int]:
        if level >= depth:
            raise too_deep
        below = size = 0
        for child in children(node):
            size += 1
            if type(child) not in CONTAINERS or not child:
                continue
            if (place := id(child)) not in shared:
                inner: tuple[int, int] | None = measure(child, level + 1)
            elif place in measured:
                inner = measured[place]
            else:
                measured[place] = None
                inner = measured[place] = measure(child, level + 1)
            if inner is not None:
                size += inner[1]
                if inner[0] >= below:
                    below = inner[0] + 1
        if level + below >= depth:
            raise too_deep
        if size > expanded:
            raise ValueError(
                f"a few shared parts make it larger than {expanded} values when walked"
            )
        return below, size

    if type(value) in CONTAINERS:
        measure(value, 0)
