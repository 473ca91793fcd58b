"""How large a value is to somebody who walks it, where what is shared counts wherever it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from resume_daemon.formats.inert_values import Call, PersistentReference

if TYPE_CHECKING:
    from collections.abc import Iterator

_NODES = (dict, list, tuple, set, frozenset, Call, PersistentReference)


def children(node: Any) -> Iterator[Any]:
    """Yield the values directly inside a container or an inert node."""
    if isinstance(node, dict):
        yield from node
        yield from node.values()
    elif isinstance(node, (list, tuple, set, frozenset)):
        yield from node
    elif isinstance(node, PersistentReference):
        yield node.value
    elif isinstance(node, Call):
        yield node.function
        yield node.arguments
        yield node.keywords
        yield node.state
        yield node.items
        yield node.entries


def check_expansion(value: Any, *, depth: int, expanded: int) -> None:
    """Return if a recursive walk over ``value`` ends soon; what contains itself counts once there.

    One visit to each container, without recursion: time and memory grow with the pickle.

    Raises:
        ValueError: It is nested deeper than ``depth``, or larger than ``expanded`` values.
    """
    if not isinstance(value, _NODES):
        return
    # Of each finished container: levels below it, and values in it. None: it is being walked.
    measured: dict[int, tuple[int, int] | None] = {id(value): None}
    path: list[tuple[Any, Iterator[Any]]] = [(value, children(value))]
    totals: list[list[int]] = [[0, 1]]
    while path:
        node, rest = path[-1]
        levels_and_size = totals[-1]
        for child in rest:
            levels_and_size[1] += 1
            if not isinstance(child, _NODES):
                continue
            if id(child) not in measured:
                measured[id(child)] = None
                path.append((child, children(child)))
                totals.append([0, 1])
                break
            _add(levels_and_size, measured[id(child)])
        else:
            path.pop()
            totals.pop()
            levels, size = levels_and_size
            if size > expanded:
                raise ValueError(
                    f"a few shared parts make it larger than {expanded} values when walked"
                )
            if levels >= depth:
                raise ValueError(f"it is nested deeper than {depth} levels")
            measured[id(node)] = (levels, size)
            if totals:
                _add(totals[-1], (levels, size))


def _add(totals: list[int], inner: tuple[int, int] | None) -> None:
    if inner is not None:
        totals[0] = max(totals[0], inner[0] + 1)
        totals[1] += inner[1]
