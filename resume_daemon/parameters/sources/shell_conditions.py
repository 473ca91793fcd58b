"""Conditions of the shell over values that are known: ``[ "$BF16" = true ]``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from tree_sitter import Node

    from resume_daemon.parameters.sources.shell_words import Resolver

MAX_DEPTH: Final = 20

_NUMBER: Final = re.compile(r"[+-]?\d{1,18}", re.ASCII)
_PATTERN: Final = re.compile(r"[*?\[]")
_COMPARISONS: Final[dict[str, Callable[[int, int], bool]]] = {
    "-eq": int.__eq__,
    "-ne": int.__ne__,
    "-lt": int.__lt__,
    "-le": int.__le__,
    "-gt": int.__gt__,
    "-ge": int.__ge__,
}


def truth(node: Node, resolver: Resolver, depth: int = 0) -> bool | None:
    """Return whether a condition holds, or None where that is not known.

    Args:
        node: A test in brackets, or several of them.
        resolver: The variables as they are there.
        depth: Levels of nesting so far.
    """
    if depth > MAX_DEPTH:
        return None
    named = node.named_children
    match node.type:
        case "test_command":
            # Of (( )), which is arithmetic, nothing is said.
            bracket = node.children[0].type in {"[", "[["}
            return truth(named[0], resolver, depth + 1) if bracket and len(named) == 1 else None
        case "negated_command" if len(named) == 1:
            found = truth(named[0], resolver, depth + 1)
            return None if found is None else not found
        case "list" | "binary_expression" if _operator(node) in {"&&", "||"} and len(named) > 1:
            one, other = (truth(each, resolver, depth + 1) for each in (named[0], named[-1]))
            return _joined(_operator(node), one, other)
        case "binary_expression":
            return _compared(node, resolver)
        case "unary_expression":
            return _unary(node, resolver, depth)
        case "command":
            return {"true": True, ":": True, "false": False}.get(_plain(named[0], resolver) or "")
    return None


def _operator(node: Node) -> str:
    found = node.child_by_field_name("operator")
    if found is None:
        return next((each.type for each in node.children if each.type in {"&&", "||"}), "")
    return found.text.decode(errors="replace") if found.text is not None else ""


def _joined(operator: str, one: bool | None, other: bool | None) -> bool | None:
    decided = operator == "||"
    if decided in {one, other}:
        return decided
    return None if one is None or other is None else not decided


def _compared(node: Node, resolver: Resolver) -> bool | None:
    left, right = node.child_by_field_name("left"), node.child_by_field_name("right")
    if left is None or right is None:
        return None
    one, other = _plain(left, resolver), _plain(right, resolver)
    if one is None or other is None:
        return None
    operator = _operator(node)
    if operator in _COMPARISONS:
        if not (_NUMBER.fullmatch(one) and _NUMBER.fullmatch(other)):
            return None
        return _COMPARISONS[operator](int(one), int(other))
    if _PATTERN.search(other):
        return None
    if operator in {"=", "=="}:
        return one == other
    return one != other if operator == "!=" else None


def _unary(node: Node, resolver: Resolver, depth: int) -> bool | None:
    operator = _operator(node)
    operand = node.named_children[-1]
    if operator == "!":
        found = truth(operand, resolver, depth + 1)
        return None if found is None else not found
    text = _plain(operand, resolver)
    if text is None or operator not in {"-n", "-z"}:
        return None
    return (text == "") is (operator == "-z")


def _plain(node: Node, resolver: Resolver) -> str | None:
    word = resolver.word(node, quoted=True)
    return word.text if word.certain else None
