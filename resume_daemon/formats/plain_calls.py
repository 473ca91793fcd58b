"""Calls whose outcome is a plain value, worked out here: none of the named functions runs.

Each takes the arguments and the guard of keys with its budget, and returns the value, or
``NOT_PLAIN`` where the arguments are not the ones that pickling writes; then the call stays inert.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Final

from resume_daemon.formats.inert_values import GlobalReference
from resume_daemon.formats.pickle_budget import ENTRY, MEMBER
from resume_daemon.formats.pickle_keys import Keys
from resume_daemon.formats.pickle_source import Left

NOT_PLAIN: Final = object()

Rebuilder = Callable[[tuple[Any, ...], Keys], Any]
"""What makes a value from the arguments of one call."""


def _ordered_dict(arguments: tuple[Any, ...], keys: Keys) -> Any:
    """``collections.OrderedDict()``, filled afterwards or, by Python 2, from a list of pairs."""
    result: dict[Any, Any] = {}
    if arguments:
        if len(arguments) != 1 or not isinstance(arguments[0], list):
            return NOT_PLAIN
        for pair in arguments[0]:
            if not isinstance(pair, (list, tuple)) or len(pair) != 2:  # noqa: PLR2004 - key, value.
                return NOT_PLAIN
            keys.check(result, pair[0])
            keys.budget.charge(ENTRY, 1)
            result[pair[0]] = pair[1]
    return result


def _default_dict(arguments: tuple[Any, ...], _: Keys) -> Any:
    """``collections.defaultdict(factory)``; the factory is named among the references."""
    return {} if len(arguments) <= 1 else NOT_PLAIN


def _members(arguments: tuple[Any, ...], keys: Keys) -> Collection[Any] | None:
    if not arguments:
        return ()
    if len(arguments) != 1 or not isinstance(arguments[0], (list, tuple, set, frozenset)):
        return None
    keys.budget.charge(MEMBER * len(arguments[0]), len(arguments[0]))
    own = Keys(keys.budget)
    for member in arguments[0]:
        own.check(arguments[0], member)
    return arguments[0]


def _set(arguments: tuple[Any, ...], keys: Keys) -> Any:
    members = _members(arguments, keys)
    return NOT_PLAIN if members is None else set(members)


def _frozenset(arguments: tuple[Any, ...], keys: Keys) -> Any:
    members = _members(arguments, keys)
    return NOT_PLAIN if members is None else frozenset(members)


def _encode(arguments: tuple[Any, ...], keys: Keys) -> Any:
    """``_codecs.encode(text, "latin1")``: how protocols 0 to 2 write byte strings."""
    match arguments:
        case (str() as text, "latin1" | "latin-1"):
            keys.budget.charge(len(text))
            return text.encode("latin-1")
        case (Left() as text, "latin1" | "latin-1"):
            return text
    return NOT_PLAIN


def _bytes(arguments: tuple[Any, ...], _: Keys) -> Any:
    return NOT_PLAIN if arguments else b""


def _bytearray(arguments: tuple[Any, ...], keys: Keys) -> Any:
    match arguments:
        case ():
            return bytearray()
        case (bytes() as content,):
            keys.budget.charge(len(content))
            return bytearray(content)
        case (str() as text, "latin-1"):
            keys.budget.charge(2 * len(text))
            return bytearray(text.encode("latin-1"))
        case (Left() as content, *_):
            return content
    return NOT_PLAIN


def _complex(arguments: tuple[Any, ...], _: Keys) -> Any:
    match arguments:
        case (float() as real, float() as imaginary):
            return complex(real, imaginary)
    return NOT_PLAIN


def _torch_size(arguments: tuple[Any, ...], _: Keys) -> Any:
    """``torch.Size(lengths)``, which is a tuple."""
    match arguments:
        case (tuple() as lengths,):
            return lengths
    return NOT_PLAIN


def _builtin_type(arguments: tuple[Any, ...], _: Keys) -> Any:
    """``_builtin_type("CodeType")``: how cloudpickle names what the module ``types`` holds."""
    match arguments:
        case (str() as name,):
            return GlobalReference("types", name)
    return NOT_PLAIN


PLAIN_CALLS: Final[dict[tuple[str, str], Rebuilder]] = {
    ("_codecs", "encode"): _encode,
    ("builtins", "bytearray"): _bytearray,
    ("builtins", "bytes"): _bytes,
    ("builtins", "complex"): _complex,
    ("builtins", "frozenset"): _frozenset,
    ("builtins", "set"): _set,
    ("cloudpickle.cloudpickle", "_builtin_type"): _builtin_type,
    ("collections", "OrderedDict"): _ordered_dict,
    ("collections", "defaultdict"): _default_dict,
    ("torch", "Size"): _torch_size,
}
"""By module and name, as Python 3 calls them."""
