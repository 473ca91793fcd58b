"""What an expression of Python is worth, as far as that is known without running it."""

from __future__ import annotations

import ast
import operator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MAX_DEPTH: Final = 40
LONGEST: Final = 10_000
"""Characters of a text, and elements of a list."""

_LARGEST: Final = 1 << 128
_SHOWN: Final = 80
_FEW_BITS: Final = 64


class UnknownError(Exception):
    """What an expression is worth is decided when the program runs."""


def _is_same(one: Any, other: Any) -> bool:
    """Return whether two values are one object, which is known of ``None`` and truth values."""
    if not any(each is None or isinstance(each, bool) for each in (one, other)):
        raise UnknownError
    return one is other


_OPERATORS: Final[dict[type[ast.operator], Callable[[Any, Any], Any]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
_COMPARISONS: Final[dict[type[ast.cmpop], Callable[[Any, Any], Any]]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Is: _is_same,
    ast.IsNot: lambda one, other: not _is_same(one, other),
    ast.In: lambda one, other: one in other,
    ast.NotIn: lambda one, other: one not in other,
}
_CALLS: Final[dict[str, Callable[..., Any]]] = {
    "abs": abs,
    "bool": bool,
    "dict": dict,
    "float": float,
    "int": int,
    "len": len,
    "list": list,
    "max": max,
    "min": min,
    "round": round,
    "str": str,
    "tuple": tuple,
}
"""Functions that only compute, of values that are known."""


@dataclass(frozen=True, slots=True)
class Value:
    """What an expression is worth; where that is not certain, what can be said of it."""

    value: Any
    certain: bool = True


@dataclass(frozen=True, slots=True)
class Names:
    """What names stand for where an expression stands.

    Attributes:
        plain: Of the module, by name.
        attributes: Of ``self``, by name; None where there is no ``self``.
        environ: The environment that the program would be started with.
    """

    plain: Mapping[str, Value] = field(default_factory=dict)
    attributes: Mapping[str, Value] | None = None
    environ: Mapping[str, str] = field(default_factory=dict)


def evaluate(node: ast.expr, names: Names) -> Value:
    """Return what an expression is worth; what is not known is its own text, and not certain."""
    try:
        found = _evaluate(node, names, 0)
    except (UnknownError, ArithmeticError, TypeError, ValueError, LookupError, RecursionError):
        return Value(text_of(node), certain=False)
    return found


def text_of(node: ast.expr) -> str:
    """Return an expression as Python would be written, cut where it is long."""
    try:
        text = ast.unparse(node)
    except (RecursionError, ValueError):
        text = type(node).__name__
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _evaluate(node: ast.expr, names: Names, depth: int) -> Value:
    if depth > MAX_DEPTH:
        raise UnknownError

    def inner(each: ast.expr) -> Value:
        return _evaluate(each, names, depth + 1)

    match node:
        case ast.Constant(value=value):
            if value is not None and not isinstance(value, (bool, int, float, str)):
                raise UnknownError
            return Value(value)
        case ast.Name(id=name) if name in names.plain:
            return names.plain[name]
        case ast.Attribute(value=ast.Name(id="self"), attr=name):
            if names.attributes is not None and name in names.attributes:
                return names.attributes[name]
        case ast.UnaryOp(op=op, operand=operand):
            return _unary(op, inner(operand))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return _binary(op, inner(left), inner(right))
        case ast.BoolOp(op=op, values=values):
            return _all_or_any(isinstance(op, ast.And), [inner(each) for each in values])
        case ast.Compare(left=left, ops=ops, comparators=others):
            return _compared([inner(left), *map(inner, others)], ops)
        case ast.IfExp(test=test, body=body, orelse=orelse):
            condition = inner(test)
            chosen = inner(body if condition.value else orelse)
            return Value(chosen.value, certain=chosen.certain and condition.certain)
        case ast.List(elts=elements) | ast.Tuple(elts=elements) | ast.Set(elts=elements):
            return _listed([inner(each) for each in elements])
        case ast.Dict(keys=keys, values=values) if all(key is not None for key in keys):
            pairs = [(inner(k), inner(v)) for k, v in zip(keys, values, strict=True) if k]
            certain = all(key.certain and value.certain for key, value in pairs)
            return Value({key.value: value.value for key, value in pairs}, certain=certain)
        case ast.Call(keywords=[]) | ast.Call(func=ast.Attribute()):
            return _called(node, [inner(each) for each in node.args], names)
    raise UnknownError


def _unary(op: ast.unaryop, found: Value) -> Value:
    match op:
        case ast.USub():
            return Value(-found.value, certain=found.certain)
        case ast.UAdd():
            return Value(+found.value, certain=found.certain)
        case ast.Not():
            return Value(not found.value, certain=found.certain)
    raise UnknownError


def _binary(op: ast.operator, one: Value, other: Value) -> Value:
    for each in (one.value, other.value):
        if isinstance(each, (str, list)) and len(each) > LONGEST:
            raise UnknownError
    many = isinstance(one.value, (str, list)) or isinstance(other.value, (str, list))
    if many and not isinstance(op, ast.Add):
        raise UnknownError
    if isinstance(op, ast.Pow) and abs(other.value) > _FEW_BITS:
        raise UnknownError
    result = _OPERATORS[type(op)](one.value, other.value)
    if isinstance(result, complex) or (isinstance(result, int) and abs(result) > _LARGEST):
        raise UnknownError
    return Value(result, certain=one.certain and other.certain)


def _all_or_any(every: bool, values: list[Value]) -> Value:
    """Return the value of ``a and b`` or ``a or b``: the first that decides."""
    certain = True
    for found in values:
        certain = certain and found.certain
        if bool(found.value) is not every:
            return Value(found.value, certain=certain)
    return Value(values[-1].value, certain=certain)


def _compared(values: list[Value], ops: list[ast.cmpop]) -> Value:
    certain = all(each.certain for each in values)
    pairs = zip(values, values[1:], ops, strict=False)
    return Value(
        all(_COMPARISONS[type(op)](one.value, other.value) for one, other, op in pairs),
        certain=certain,
    )


def _listed(values: list[Value]) -> Value:
    if len(values) > LONGEST:
        raise UnknownError
    return Value([each.value for each in values], certain=all(each.certain for each in values))


def _called(node: ast.Call, arguments: list[Value], names: Names) -> Value:
    """Return what a call of one of few functions gives; ``os.environ.get`` is not certain."""
    match node.func:
        case ast.Name(id=name) if name in _CALLS and name not in names.plain:
            for each in arguments:
                if isinstance(each.value, (str, list, dict)) and len(each.value) > LONGEST:
                    raise UnknownError
            result = _CALLS[name](*(each.value for each in arguments))
            return Value(result, certain=all(each.certain for each in arguments))
        case ast.Attribute(attr="getenv" | "get") if arguments and _is_environment(node.func):
            default = arguments[1].value if len(arguments) > 1 else None
            return Value(names.environ.get(str(arguments[0].value), default), certain=False)
    raise UnknownError


def _is_environment(function: ast.Attribute) -> bool:
    """Return whether this is ``os.getenv`` or ``os.environ.get``."""
    match function:
        case ast.Attribute(attr="getenv", value=ast.Name(id="os")):
            return True
        case ast.Attribute(attr="get", value=ast.Attribute(attr="environ")):
            return True
        case ast.Attribute(attr="get", value=ast.Name(id="environ")):
            return True
    return False
