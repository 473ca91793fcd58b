"""What a ``__post_init__`` makes of the values that a class is given: read, and never run. Pure.

Assignments, conditions, ``raise`` and ``assert`` are followed; what anything else does is not
known, and whatever it assigns to is not certain.
"""

from __future__ import annotations

import ast
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from resume_daemon.parameters.names import canonical
from resume_daemon.parameters.sources.python_values import Names, Value, evaluate, text_of
from resume_daemon.parameters.values import Setting, Source, SourceKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from resume_daemon.parameters.facts import Parameter
    from resume_daemon.parameters.sources.python_code import Family
    from resume_daemon.parameters.sources.python_module import ConfigurationClass

MAX_STATEMENTS: Final = 2000


@dataclass(frozen=True, slots=True)
class Computed:
    """A value that a ``__post_init__`` assigns.

    Attributes:
        name: Of the field.
        value: What it assigns.
        line: Where, from 1.
        path: The file.
    """

    name: str
    value: Value
    line: int
    path: Path


@dataclass(frozen=True, slots=True)
class Refusal:
    """A rule of the user's own that the values given do not keep, so that the start fails.

    Attributes:
        scope: The class.
        rule: The condition, as it is written.
        line: Of the rule, from 1.
        path: The file.
    """

    scope: str
    rule: str
    line: int
    path: Path


@dataclass(slots=True)
class Outcome:
    """What became of the values: those assigned, the last for each name, and what is refused."""

    computed: dict[str, Computed] = field(default_factory=dict)
    refusals: list[Refusal] = field(default_factory=list)


def follow(family: Family, given: Mapping[str, Value]) -> Outcome:
    """Return what becomes of the values that a class is given.

    Args:
        family: The class, with its bases.
        given: Values by field's name; a field that is not given has its default.
    """
    attributes = {name: found.value for name, (found, _) in family.fields().items()}
    attributes |= {name: value for name, value in given.items() if name in attributes}
    run = _Run(family, attributes)
    with suppress(_EndedError):
        run.method(0)
    return run.outcome


def outcome_of(
    families: Iterable[Family], parameters: Mapping[str, Parameter]
) -> tuple[list[Setting], list[Refusal]]:
    """Return what the classes make of what the next start is given, and what they refuse.

    Args:
        families: The user's configuration classes.
        parameters: What the next start is given; a default in code is that of its own class.
    """
    computed: list[Setting] = []
    refusals: list[Refusal] = []
    for family in families:
        given = {}
        for name in family.fields():
            parameter = parameters.get(canonical(name))
            setting = None if parameter is None else parameter.next_start
            if setting is not None and setting.source.kind is not SourceKind.CODE:
                given[name] = Value(setting.value, certain=setting.certain)
        outcome = follow(family, given)
        refusals += outcome.refusals
        for each in outcome.computed.values():
            if each.name.startswith("_"):
                continue  # The class's own business.
            scope = f"{family.name}.__post_init__"
            source = Source(SourceKind.CODE, each.path, f"{each.path.name}: {scope}")
            computed.append(
                Setting(
                    each.name,
                    each.value.value,
                    source,
                    line=each.line,
                    certain=each.value.certain,
                    scope=scope,
                )
            )
    return computed, refusals


class _EndedError(Exception):
    """The method ends here."""

    def __init__(self, *, raised: bool) -> None:
        self.raised = raised
        super().__init__()


class _Run:
    def __init__(self, family: Family, attributes: dict[str, Value]) -> None:
        self._family = family
        self._attributes = attributes
        self._locals: dict[str, Value] = {}
        self._left = MAX_STATEMENTS
        self._conditions: list[str] = []
        self._doubtful = False
        self.outcome = Outcome()

    def method(self, place: int) -> None:
        """Follow the first ``__post_init__`` from a place in the lineage on."""
        for number, owner in enumerate(self._family.lineage[place:], place):
            if owner.post_init:
                outer, self._locals = self._locals, {}
                try:
                    self._body(owner.post_init, owner, number)
                except _EndedError as ended:
                    if ended.raised:
                        raise
                finally:
                    self._locals = outer
                return

    def _body(self, body: Sequence[ast.stmt], owner: ConfigurationClass, number: int) -> None:
        for statement in body:
            self._left -= 1
            if self._left < 0:
                self._forget(statement, owner)
            else:
                self._statement(statement, owner, number)

    def _statement(self, node: ast.stmt, owner: ConfigurationClass, number: int) -> None:
        match node:
            case ast.Assign(targets=[target], value=value):
                self._assign(target, self._worth(value, owner), owner)
            case ast.AnnAssign(target=target, value=ast.expr() as value):
                self._assign(target, self._worth(value, owner), owner)
            case ast.AugAssign(target=target, op=op, value=value):
                self._assign(target, self._worth(ast.BinOp(target, op, value), owner), owner)
            case ast.If(test=test):
                self._if(node, self._worth(test, owner), owner, number)
            case ast.Assert(test=test):
                found = self._worth(test, owner)
                if found.certain and not found.value:
                    self._refuse(f"assert {text_of(test)}", node.lineno, owner)
            case ast.Raise():
                rule = self._conditions[-1] if self._conditions else "always"
                self._refuse(f"raises if {rule}", node.lineno, owner)
            case ast.Return():
                raise _EndedError(raised=False)
            case ast.Expr(value=ast.Call(func=ast.Attribute(attr="__post_init__"))):
                self.method(number + 1)
            case ast.Expr() | ast.Pass() | ast.Import() | ast.ImportFrom():
                pass
            case _:
                self._forget(node, owner)

    def _worth(self, node: ast.expr, owner: ConfigurationClass) -> Value:
        plain = {**owner.names.plain, **self._locals}
        return evaluate(node, Names(plain, self._attributes, owner.names.environ))

    def _assign(self, target: ast.expr, value: Value, owner: ConfigurationClass) -> None:
        if self._doubtful:
            value = Value(value.value, certain=False)
        match target:
            case ast.Attribute(value=ast.Name(id="self"), attr=name):
                self._attributes[name] = value
                self.outcome.computed[name] = Computed(name, value, target.lineno, owner.path)
            case ast.Name(id=name):
                self._locals[name] = value
            case _:
                self._forget(target, owner)

    def _if(self, node: ast.If, test: Value, owner: ConfigurationClass, number: int) -> None:
        if test.certain:
            if test.value:
                self._conditions.append(text_of(node.test))
                self._body(node.body, owner, number)
                self._conditions.pop()
            else:
                self._body(node.orelse, owner, number)
            return
        # Which way it goes is not known: what either way assigns is not certain.
        before = dict(self._attributes), dict(self._locals)
        refusals = list(self.outcome.refusals)
        ways = []
        for body in (node.body, node.orelse):
            self._attributes, self._locals = dict(before[0]), dict(before[1])
            try:
                self._body(body, owner, number)
            except _EndedError as ended:
                if ended.raised:
                    continue  # Then nothing is trained at all.
                self._doubtful = True
            ways.append((self._attributes, self._locals))
        self.outcome.refusals = refusals
        if not ways:
            raise _EndedError(raised=True)
        self._attributes = _merged(ways[0][0], ways[-1][0])
        self._locals = _merged(ways[0][1], ways[-1][1])
        for name, computed in self.outcome.computed.items():
            if (now := self._attributes.get(name)) is not None:
                self.outcome.computed[name] = replace(computed, value=now)

    def _refuse(self, rule: str, line: int, owner: ConfigurationClass) -> None:
        if not self._doubtful:
            self.outcome.refusals.append(Refusal(self._family.name, rule, line, owner.path))
        raise _EndedError(raised=True)

    def _forget(self, node: ast.AST, owner: ConfigurationClass) -> None:
        """Mark whatever a statement assigns to as not certain."""
        for each in ast.walk(node):
            match each:
                case ast.Attribute(value=ast.Name(id="self"), attr=name, ctx=ast.Store()):
                    before = self._attributes.get(name, Value(None))
                    self._assign(each, Value(before.value, certain=False), owner)
                case ast.Name(id=name, ctx=ast.Store()):
                    self._locals[name] = Value(None, certain=False)


def _merged(one: Mapping[str, Value], other: Mapping[str, Value]) -> dict[str, Value]:
    found = {}
    for name in {**one, **other}:
        first, second = one.get(name), other.get(name)
        known = first if first is not None else second
        if known is not None:
            same = first == second
            found[name] = known if same else Value(known.value, certain=False)
    return found
