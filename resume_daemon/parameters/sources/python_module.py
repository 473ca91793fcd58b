"""A Python file taken apart: its configuration classes, constants and calls. Never run."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from resume_daemon.formats.python_source import parse_source
from resume_daemon.parameters.names import canonical
from resume_daemon.parameters.sources.python_values import Names, Value, evaluate

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

TRAINER_CLASSES: Final = frozenset({"GRPOConfig", "TrainingArguments", "LoraConfig", "SFTConfig"})
"""Classes whose calls say what a training is given."""

_LINE_END: Final = re.compile(r"\r\n|\r|\n")
_CONFIGURES: Final = re.compile(r".*(?:Config|Configuration|Arguments|Args|Settings|Params)")
_DECORATORS: Final = {"dataclass", "define", "attrs", "frozen"}


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a class and its default.

    Attributes:
        name: Of the field.
        value: Its default, as far as it is known.
        line: Where the default stands, from 1.
        span: The bytes of the default, where it is one literal.
    """

    name: str
    value: Value
    line: int
    span: tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class ConfigurationClass:
    """A class whose fields may be parameters.

    Attributes:
        name: Of the class.
        declared: Whether it is known by itself that it holds parameters; else its bases tell.
        bases: Names of what it inherits from, without the modules they are in.
        fields: In the order of the source.
        post_init: The statements of ``__post_init__``.
        names: What names stand for in its module.
        path: The file.
    """

    name: str
    declared: bool
    bases: tuple[str, ...]
    fields: tuple[Field, ...]
    post_init: tuple[ast.stmt, ...]
    names: Names
    path: Path


@dataclass(frozen=True, slots=True)
class Module:
    """What a Python file says of a training.

    Attributes:
        classes: Its classes.
        calls: Arguments of calls of the trainer's classes: the class's name, and each argument.
        imports: Modules that it imports, with a leading dot for each level of a relative import.
        parsed: Names that a parser of arguments is given (``HfArgumentParser((A, B))``).
    """

    classes: tuple[ConfigurationClass, ...]
    calls: tuple[tuple[str, Field], ...]
    imports: tuple[str, ...]
    parsed: frozenset[str] = frozenset()


def parse_module(text: str, path: Path, environ: Mapping[str, str]) -> Module:
    """Return what a Python file says; nothing of it is imported or run.

    Args:
        text: The source.
        path: Where it came from, for messages.
        environ: The environment that it would be started with.

    Raises:
        FormatError: It is no Python that this interpreter can parse.
    """
    tree = parse_source(text.removeprefix("\ufeff"), path)
    return _Reader(text, path, environ).module(tree)


class _Reader:
    def __init__(self, text: str, path: Path, environ: Mapping[str, str]) -> None:
        starts = [0, *(found.end() for found in _LINE_END.finditer(text))]
        # The parser counts columns in bytes of UTF-8, and without a byte order mark.
        self._mark = len("\ufeff".encode()) if text.startswith("\ufeff") else 0
        self._starts = [0]
        for begin, end in pairwise(starts):
            self._starts.append(self._starts[-1] + len(text[begin:end].encode()))
        self._path = path
        self._environ = environ
        self._constants: dict[str, Value] = {}
        self._places: dict[str, ast.expr] = {}
        self._uses: dict[str, int] = {}

    def module(self, tree: ast.Module) -> Module:
        for node in ast.walk(tree):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
                self._uses[node.id] = self._uses.get(node.id, 0) + 1
        classes = list(self._classes(tree.body))
        calls = [each for node in ast.walk(tree) for each in self._call(node)]
        imports = dict.fromkeys(each for node in ast.walk(tree) for each in _imported(node))
        parsed = frozenset(each for node in ast.walk(tree) for each in _parsed(node))
        return Module(tuple(classes), tuple(calls), tuple(imports), parsed)

    def _classes(self, body: list[ast.stmt]) -> Iterator[ConfigurationClass]:
        for node in body:
            match node:
                case ast.Assign(targets=[ast.Name(id=name)], value=value):
                    self._remember(name, value)
                case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                    self._remember(name, value)
                case ast.ClassDef():
                    yield self._class(node)
                case ast.If() | ast.Try() | ast.For() | ast.While() | ast.With():
                    # What is assigned there depends on more than can be read.
                    for each in ast.walk(node):
                        if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store):
                            self._constants.pop(each.id, None)
                    yield from self._classes(getattr(node, "body", []))

    def _remember(self, name: str, node: ast.expr) -> None:
        again = name in self._places
        self._places[name] = node
        found = self._worth(node)
        self._constants[name] = Value(found.value, certain=found.certain and not again)

    def _class(self, node: ast.ClassDef) -> ConfigurationClass:
        fields: dict[str, Field] = {}
        post_init: list[ast.stmt] = []
        for each in node.body:
            match each:
                case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                    if not name.startswith("_"):
                        fields[name] = self._field(name, value)
                case ast.Assign(targets=[ast.Name(id=name)], value=value):
                    if not name.startswith("_"):
                        fields[name] = self._field(name, value)
                case ast.FunctionDef(name="__post_init__", body=body):
                    post_init = body
        return ConfigurationClass(
            node.name,
            _configures(node),
            tuple(_last_name(base) for base in node.bases),
            tuple(fields.values()),
            tuple(post_init),
            Names(dict(self._constants), None, self._environ),
            self._path,
        )

    def _field(self, name: str, node: ast.expr) -> Field:
        """Return a field by its default, which may stand inside ``field(...)``."""
        value: ast.expr | None = node
        if isinstance(node, ast.Call) and _last_name(node.func).lower().endswith(
            ("field", "ib", "haarg")
        ):
            given = {each.arg: each.value for each in node.keywords}
            factory = given.get("default_factory", given.get("factory"))
            first = node.args[0] if node.args else None
            value = given.get("default", first)
            if isinstance(factory, ast.Lambda):
                value = factory.body
            elif factory is not None:
                value = ast.Call(factory, [], [])
                ast.copy_location(value, factory)
        if value is None:
            return Field(name, Value("(required)", certain=False), node.lineno, None)
        return self._argument(name, value)

    def _argument(self, name: str, value: ast.expr) -> Field:
        found = self._worth(value)
        # A constant that nothing else uses can be changed for this field.
        used = self._uses.get(value.id, 0) if isinstance(value, ast.Name) else 0
        place = self._places.get(value.id, value) if isinstance(value, ast.Name) else value
        alone = not isinstance(value, ast.Name) or used == 1
        span = self._span(place) if found.certain and alone and _is_literal(place) else None
        return Field(name, found, place.lineno if span else value.lineno, span)

    def _call(self, node: ast.AST) -> Iterator[tuple[str, Field]]:
        if not isinstance(node, ast.Call):
            return
        name = _last_name(node.func)
        if name in TRAINER_CLASSES:
            for keyword in node.keywords:
                if keyword.arg is not None and not _hands_on(keyword.arg, keyword.value):
                    yield name, self._argument(keyword.arg, keyword.value)

    def _worth(self, node: ast.expr) -> Value:
        return evaluate(node, Names(self._constants, None, self._environ))

    def _span(self, node: ast.expr) -> tuple[int, int] | None:
        if node.end_lineno is None or node.end_col_offset is None:
            return None
        return (
            self._byte(node.lineno, node.col_offset),
            self._byte(node.end_lineno, node.end_col_offset),
        )

    def _byte(self, line: int, column: int) -> int:
        return self._starts[line - 1] + column + (self._mark if line == 1 else 0)


def _hands_on(name: str, value: ast.expr) -> bool:
    """Return whether an argument only hands on the parameter: ``r=script.lora_rank``."""
    return isinstance(value, ast.Attribute) and canonical(value.attr) == canonical(name)


def _parsed(node: ast.AST) -> Iterator[str]:
    """Yield the names that a call of a parser of arguments is given."""
    if isinstance(node, ast.Call) and (
        (name := _last_name(node.func)).endswith("Parser") or name in {"cli", "parse"}
    ):
        for argument in (*node.args, *(keyword.value for keyword in node.keywords)):
            for each in ast.walk(argument):
                if isinstance(each, (ast.Name, ast.Attribute)):
                    yield _last_name(each)


def _configures(node: ast.ClassDef) -> bool:
    """Return whether a class holds parameters: by its decorators, its bases, or its name."""
    decorators = {
        _last_name(each.func if isinstance(each, ast.Call) else each)
        for each in node.decorator_list
    }
    bases = [_last_name(base) for base in node.bases]
    named = [node.name, *bases]
    return (
        bool(decorators & _DECORATORS)
        or any(_CONFIGURES.fullmatch(name) for name in named)
        or bool({"BaseModel", "BaseSettings", "NamedTuple"} & set(bases))
    )


def _last_name(node: ast.expr) -> str:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case ast.Subscript(value=inner):
            return _last_name(inner)
    return ""


def _is_literal(node: ast.expr) -> bool:
    match node:
        case ast.Constant():
            return True
        case ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=ast.Constant()):
            return True
        case ast.List(elts=elements) | ast.Tuple(elts=elements):
            return all(_is_literal(each) for each in elements)
    return False


def _imported(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Import(names=names):
            for each in names:
                yield each.name
        case ast.ImportFrom(module=module, names=names, level=level):
            stem = "." * level + (module or "")
            yield stem
            for each in names:
                # ``from configs import grpo`` may mean a module as well as a name.
                yield f"{stem}{'.' if module else ''}{each.name}"
