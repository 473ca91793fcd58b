"""The classes of the user's curriculum code, read as text: nothing is imported or run.

An import would run whatever stands at the top of a module, and of all that it imports in turn.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True, slots=True)
class Method:
    """One method: its line, whether it does nothing yet, and the names of what it calls.

    ``empty`` says what it is instead ("only raises NotImplementedError"), or is an empty string.
    """

    name: str
    line: int
    empty: str
    calls: frozenset[str]


@dataclass(frozen=True, slots=True)
class CodeClass:
    """One class as it stands in a file.

    Attributes:
        name: Its name.
        file: How the file is named to the user.
        line: Where it begins.
        bases: The last part of the name of each base class.
        methods: Those that its own body defines, by name.
        abstract: It says that it is not meant to be used as it is (``ABC``, ``Protocol``, or an
            abstract method).
    """

    name: str
    file: str
    line: int
    bases: tuple[str, ...]
    methods: Mapping[str, Method]
    abstract: bool = False


@dataclass(frozen=True, slots=True)
class CodeModule:
    """One file: its classes, and every name that anything in it calls."""

    file: str
    classes: tuple[CodeClass, ...]
    calls: frozenset[str]


def module_of(tree: ast.Module, file: str) -> CodeModule:
    """Return the classes of a syntax tree.

    A stand-in for a failed import (a class in an ``except`` clause) is no class of the curriculum.
    """
    found: dict[str, CodeClass] = {}
    for node in _classes(tree):
        each = _class_of(node, file)
        known = found.get(each.name)
        if known is None or len(each.methods) >= len(known.methods):
            found[each.name] = each
    return CodeModule(file, tuple(found.values()), frozenset(_calls(tree)))


def all_methods(each: CodeClass, known: Mapping[str, CodeClass]) -> dict[str, Method]:
    """Return a class's methods with those that it inherits from ``known`` classes."""
    methods: dict[str, Method] = {}
    pending, seen = [each.name], set[str]()
    while pending:
        name = pending.pop(0)
        current = each if name == each.name else known.get(name)
        if current is None or name in seen:
            continue
        seen.add(name)
        for method in current.methods.values():
            methods.setdefault(method.name, method)
        pending += current.bases
    return methods


def base_names(each: CodeClass, known: Mapping[str, CodeClass]) -> set[str]:
    """Return the names of every class that a class is made from, as far as they are known."""
    names: set[str] = set()
    pending = list(each.bases)
    while pending:
        name = pending.pop()
        if name in names:
            continue
        names.add(name)
        pending += known[name].bases if name in known else ()
    return names


def _classes(tree: ast.Module) -> Iterator[ast.ClassDef]:
    pending: list[ast.AST] = [tree]
    while pending:
        node = pending.pop(0)
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.ExceptHandler):
                continue
            if isinstance(child, ast.ClassDef):
                yield child
            if isinstance(child, (ast.stmt, ast.Module)):
                pending.append(child)


def _class_of(node: ast.ClassDef, file: str) -> CodeClass:
    methods: dict[str, Method] = {}
    abstract = any(_last_name(base) in {"ABC", "Protocol"} for base in node.bases)
    abstract = abstract or any(_last_name(k.value) == "ABCMeta" for k in node.keywords)
    for item in node.body:
        if isinstance(item, _FUNCTION):
            abstract = abstract or any(
                _last_name(each) == "abstractmethod" for each in item.decorator_list
            )
            methods[item.name] = Method(
                item.name, item.lineno, _emptiness(item.body), frozenset(_calls(item))
            )
        elif isinstance(item, ast.Assign) and isinstance(item.value, (ast.Name, ast.Attribute)):
            # `load_state = load_curriculum_state`: another name for the same method.
            for target in item.targets:
                if isinstance(target, ast.Name):
                    methods[target.id] = Method(target.id, item.lineno, "", frozenset())
    bases = tuple(name for base in node.bases if (name := _last_name(base)))
    return CodeClass(node.name, file, node.lineno, bases, methods, abstract)


def _emptiness(body: Sequence[ast.stmt]) -> str:
    """Return what a body is that does nothing, or an empty string."""
    rest = [each for each in body if not _is_constant(each)]
    if not rest or all(isinstance(each, ast.Pass) for each in rest):
        return "does nothing"
    if len(rest) == 1 and isinstance(rest[0], ast.Raise) and rest[0].exc is not None:
        raised = rest[0].exc.func if isinstance(rest[0].exc, ast.Call) else rest[0].exc
        if _last_name(raised) == "NotImplementedError":
            return "only raises NotImplementedError"
    return ""


def _is_constant(statement: ast.stmt) -> bool:
    """Return whether a statement is a docstring or ``...``."""
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _calls(tree: ast.AST) -> Iterator[str]:
    """Yield the last name of everything that is called, or asked for by its name as a text."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        if name := _last_name(node.func):
            yield name
        if name in {"getattr", "hasattr"} and len(node.args) > 1:
            asked = node.args[1]
            if isinstance(asked, ast.Constant) and isinstance(asked.value, str):
                yield asked.value


def _last_name(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    if isinstance(node, ast.Subscript):
        return _last_name(node.value)
    return node.id if isinstance(node, ast.Name) else ""
