"""Arithmetic of the shell, ``$((A + B))``, over numbers that are known.

Its operators have the precedence that they have in C and in Python, so that Python's parser takes
it apart; the grammar of bash that reads the scripts does not keep to it.
"""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_LONGEST: Final = 200
_LARGEST: Final = 1 << 63
_VARIABLE: Final = re.compile(r"\$(?:\{([A-Za-z_]\w*)\}|([A-Za-z_]\w*))", re.ASCII)
_PLAIN: Final = re.compile(r"(?:[A-Za-z_]\w*|\d+|[+\-%()\s]|\*(?!\*)|/(?!/))*", re.ASCII)


def evaluate(text: str, number: Callable[[str], int | None]) -> int | None:
    """Return the number that an expression is, or None where that is not known.

    Sums, products, quotients and remainders of whole numbers; nothing else is looked at.

    Args:
        text: What stands between ``$((`` and ``))``.
        number: What a variable holds, as a number; None where that is not known.
    """
    plain = _VARIABLE.sub(lambda found: found[1] or found[2], text)
    if len(plain) > _LONGEST or _PLAIN.fullmatch(plain) is None:
        return None
    try:
        tree = ast.parse(" ".join(plain.split()), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None  # Leading zeros, which are octal to the shell, among others.
    return _value(tree.body, number)


def _value(node: ast.expr, number: Callable[[str], int | None]) -> int | None:
    match node:
        case ast.Constant(value=int() as value) if not isinstance(value, bool):
            return value if value < _LARGEST else None
        case ast.Name(id=name):
            return number(name)
        case ast.UnaryOp(op=ast.USub() | ast.UAdd() as operator, operand=inner):
            found = _value(inner, number)
            return found if found is None or isinstance(operator, ast.UAdd) else -found
        case ast.BinOp(left=left, op=operator, right=right):
            one, other = _value(left, number), _value(right, number)
            return None if one is None or other is None else _combined(operator, one, other)
    return None


def _combined(operator: ast.operator, one: int, other: int) -> int | None:
    match operator:
        case ast.Add():
            result = one + other
        case ast.Sub():
            result = one - other
        case ast.Mult():
            result = one * other
        # The shell cuts towards zero, and a remainder has the sign of the first number.
        case ast.Div() if other:
            result = abs(one) // abs(other) * (1 if (one < 0) == (other < 0) else -1)
        case ast.Mod() if other:
            result = abs(one) % abs(other) * (1 if one >= 0 else -1)
        case _:
            return None
    return result if abs(result) < _LARGEST else None
