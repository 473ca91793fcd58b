"""Shell scripts: the commands that they would run, with what is known of their words. Never run.

The grammar is tree-sitter's for bash, which reads POSIX shell as well and most of zsh.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from resume_daemon.errors import FormatError
from resume_daemon.parameters.sources.shell_conditions import truth
from resume_daemon.parameters.sources.shell_words import Resolver, Variable, Word

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tree_sitter import Node

MAX_DEPTH: Final = 100
MAX_COMMANDS: Final = 2000

_OPERATION: Final = "read the launch script"
_OTHER_LANGUAGE: Final = re.compile(r"#!.*\b(python|perl|ruby|node|fish|awk|Rscript)[\d.]*\b")
_SHOWS_ONLY: Final = frozenset({
    ":", "basename", "cat", "cp", "date", "dirname", "echo", "head", "ls", "mkdir", "nvidia-smi",
    "printf", "rm", "sleep", "tail", "tee", "true", "wc",
})  # fmt: skip
"""Commands to which a value is given without any consequence for the training."""

_CONDITIONAL: Final = {"if_statement", "case_statement", "elif_clause", "else_clause", "case_item"}
_BRANCHES: Final = {"elif_clause", "else_clause"}
_LOOPS: Final = {"for_statement", "c_style_for_statement", "while_statement"}
_ASSIGNMENTS: Final = {"declaration_command", "variable_assignment", "variable_assignments"}


@dataclass(frozen=True, slots=True)
class Command:
    """One command, as far as it is known.

    Attributes:
        words: The program and its arguments.
        environment: What is exported where it runs, by name, also what stands before it.
        line: Where it begins, from 1.
    """

    words: tuple[Word, ...]
    environment: Mapping[str, Word]
    line: int


@dataclass(slots=True)
class Script:
    """What a script would do.

    Attributes:
        commands: In its order.
        origins: For the place of a value, the variable that it was assigned to.
        uses: In how many places that matter each variable is used.
        sourced: Paths of the files that it sources, where they are known.
        directories: Directories that it changes to, where they are known.
        error_line: The first line that is no shell; then nothing in it is certain.
        notes: What could not be understood, as sentences.
    """

    commands: list[Command] = field(default_factory=list)
    origins: Mapping[tuple[int, int], str] = field(default_factory=dict)
    uses: Mapping[str, int] = field(default_factory=dict)
    sourced: list[str] = field(default_factory=list)
    directories: list[str] = field(default_factory=list)
    error_line: int | None = None
    notes: list[str] = field(default_factory=list)


def parse_script(text: str, path: Path, environ: Mapping[str, str]) -> Script:
    """Return what a script would do.

    Args:
        text: The script.
        path: Where it came from, for messages.
        environ: The environment that it would be started with.

    Raises:
        FormatError: It is no shell script, or nested beyond the bound.
    """
    from tree_sitter import Language, Parser  # noqa: PLC0415 - only where a script is read
    from tree_sitter_bash import language  # noqa: PLC0415 - as above

    if other := _OTHER_LANGUAGE.match(text.partition("\n")[0]):
        raise FormatError(
            _OPERATION, path, f"it is no shell script: its first line names {other[1]}"
        )
    data = text.encode()
    root = Parser(Language(language())).parse(data).root_node
    walk = _Walk(data, path, environ, root)
    try:
        walk.statements(root, conditional=root.has_error, depth=0)
    except RecursionError:
        raise FormatError(_OPERATION, path, "its words are nested too deeply") from None
    if root.has_error:
        walk.script.error_line = _first_error(root)
    return walk.script


class _Walk:
    """Walks the statements of one script in their order, keeping the variables."""

    def __init__(self, data: bytes, path: Path, environ: Mapping[str, str], root: Node) -> None:
        self._data = data
        self._path = path
        self._resolver = Resolver(data, environ, str(path.parent))
        self._exported: dict[str, None] = {}
        self._export_all = False
        self._called = _called(root, data)
        self.script = Script(origins=self._resolver.origins, uses=_uses(root, data))

    def statements(self, node: Node, *, conditional: bool, depth: int) -> None:
        for child in node.named_children:
            self.statement(child, conditional=conditional, depth=depth + 1)

    def statement(self, node: Node, *, conditional: bool, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise FormatError(_OPERATION, self._path, f"it is nested deeper than {MAX_DEPTH}")
        kind = node.type
        if kind == "command":
            self._command(node)
        elif kind in _ASSIGNMENTS:
            self._declaration(node, conditional=conditional)
        elif kind == "if_statement":
            self._if(node, conditional=conditional, depth=depth)
        elif kind in _LOOPS:
            self._loop(node, conditional=conditional, depth=depth)
        elif kind == "list":
            self._list(node, conditional=conditional, depth=depth)
        elif kind == "subshell":
            before = dict(self._resolver.variables)
            self.statements(node, conditional=conditional, depth=depth)
            self._resolver.variables = before
        elif kind == "function_definition":
            name = node.child_by_field_name("name")
            body = node.child_by_field_name("body")
            called = name is not None and self._text(name) in self._called
            if body is not None:
                self.statement(body, conditional=conditional or not called, depth=depth + 1)
        elif kind not in {"comment", "heredoc_redirect", "file_redirect", "herestring_redirect"}:
            inside = conditional or kind in _CONDITIONAL
            self.statements(node, conditional=inside, depth=depth)

    def _if(self, node: Node, *, conditional: bool, depth: int) -> None:
        """Walk the branches that may be taken; where a condition is known, one alone is."""
        decided: bool | None = False
        taken = False
        for place, child in enumerate(node.children):
            if node.field_name_for_child(place) == "condition" and child.is_named:
                # It is carried out whatever comes of it.
                self.statement(child, conditional=conditional, depth=depth + 1)
                decided = truth(child, self._resolver)
                taken = decided is True
            elif child.type == "elif_clause" and not taken:
                inner = child.named_children
                if decided is False and inner:
                    decided = truth(inner[0], self._resolver)
                    taken = decided is True
                else:
                    decided = None
                if decided is not False:
                    unsure = conditional or decided is None
                    self.statements(child, conditional=unsure, depth=depth + 1)
            elif child.type == "else_clause" and not taken:
                unsure = conditional or decided is None
                self.statements(child, conditional=unsure, depth=depth + 1)
            elif child.is_named and child.type not in _BRANCHES and decided is not False:
                unsure = conditional or decided is None
                self.statement(child, conditional=unsure, depth=depth + 1)

    def _list(self, node: Node, *, conditional: bool, depth: int) -> None:
        """Walk ``a && b`` and ``a || b``: what follows ``||`` runs where the other failed."""
        alternative = False
        for child in node.children:
            if child.type == "||":
                alternative = True
            elif child.is_named:
                self.statement(child, conditional=conditional or alternative, depth=depth + 1)

    def _loop(self, node: Node, *, conditional: bool, depth: int) -> None:
        """Walk a loop once; what it counts with, and what grows in it, is not known."""
        body = node.child_by_field_name("body") or node
        variable = node.child_by_field_name("variable")
        for name in _grown(body, self._data):
            self._resolver.variables[name] = None
        if variable is not None:
            self._resolver.variables[self._text(variable)] = None
        self.statements(body, conditional=conditional, depth=depth)

    def _declaration(self, node: Node, *, conditional: bool) -> None:
        exports = self._export_all
        if node.type == "declaration_command":
            first = self._text(node.children[0])
            flags = [self._text(c) for c in node.named_children if c.type == "word"]
            exports |= first == "export" or any("x" in each for each in flags if each[:1] == "-")
        nodes = [node] if node.type == "variable_assignment" else node.named_children
        for each in nodes:
            if each.type == "variable_assignment":
                name = self._assign(each, conditional=conditional)
                if name is not None and exports:
                    self._exported[name] = None
            elif each.type == "variable_name" and exports:
                self._exported[self._text(each)] = None

    def _assign(self, node: Node, *, conditional: bool) -> str | None:
        """Carry out an assignment and return the name, or None where it is an array's element."""
        target = node.child_by_field_name("name")
        if target is None or target.type != "variable_name":
            if target is not None and target.named_child_count:
                self._resolver.variables[self._text(target.named_children[0])] = None
            return None
        name = self._text(target)
        value = self._value(node.child_by_field_name("value"))
        if conditional:
            value = _uncertain(value, self._resolver.variables.get(name))
        grows = any(child.type == "+=" for child in node.children)
        self._resolver.variables[name] = self._grown(name, value) if grows else value
        return name

    def _value(self, node: Node | None) -> Variable:
        if node is None:
            return Word()
        if node.type == "array":
            return self._resolver.elements(node)
        return self._resolver.word(node, quoted=True)

    def _grown(self, name: str, value: Variable) -> Variable | None:
        before = self._resolver.variables.get(name, Word())
        if before is None:
            return None
        if isinstance(value, list):
            first = before if isinstance(before, list) else [before] if before.parts else []
            return [*first, *value] if len(first) + len(value) <= MAX_COMMANDS else None
        if isinstance(before, list):
            return None
        return Word((*before.parts, *value.parts)) if len(before.text) < MAX_COMMANDS else None

    def _command(self, node: Node) -> None:
        words: list[Word] = []
        prefix: dict[str, Word] = {}
        for place, child in enumerate(node.children):
            if child.type == "variable_assignment":
                name = child.child_by_field_name("name")
                if name is not None and isinstance(
                    value := self._value(child.child_by_field_name("value")), Word
                ):
                    prefix[self._text(name)] = value
            elif node.field_name_for_child(place) in {"name", "argument"}:
                words += self._resolver.words(child)
        if not words or len(self.script.commands) >= MAX_COMMANDS:
            return
        program = words[0].text
        if program in {"source", "."} and len(words) > 1:
            self._source(words[1])
        elif program == "cd" and len(words) > 1 and words[1].certain:
            self.script.directories.append(words[1].text)
        elif program == "set" and any(word.text in {"-a", "allexport"} for word in words[1:]):
            self._export_all = True
        elif program == "set" and any(word.text == "+a" for word in words[1:]):
            self._export_all = False
        elif program in {"read", "mapfile", "readarray", "getopts", "unset"}:
            for word in words[1:]:
                self._resolver.variables[word.text] = None
        else:
            environment = {**self._environment(), **prefix}
            line = node.start_point[0] + 1
            self.script.commands.append(Command(tuple(words), environment, line))

    def _environment(self) -> dict[str, Word]:
        found = {}
        for name in self._exported:
            if isinstance(value := self._resolver.variables.get(name), Word):
                found[name] = value
        return found

    def _source(self, word: Word) -> None:
        if word.certain:
            self.script.sourced.append(word.text)
        else:
            self.script.notes.append(f"line {word.line} sources {word.text}, which is not known")

    def _text(self, node: Node) -> str:
        return self._data[node.start_byte : node.end_byte].decode(errors="replace")


def _uncertain(value: Variable, before: Variable | None) -> Variable:
    """Return a value as not certain, but for what was there before and only grew."""
    if isinstance(value, list):
        return [each.uncertain() for each in value]
    if isinstance(before, Word) and value.parts[: len(before.parts)] == before.parts:
        grown = Word(value.parts[len(before.parts) :]).uncertain()
        return Word((*before.parts, *grown.parts))
    return value.uncertain()


def _walk_all(root: Node) -> Iterator[Node]:
    waiting = [root]
    while waiting:
        node = waiting.pop()
        yield node
        waiting += node.named_children


def _uses(root: Node, data: bytes) -> Counter[str]:
    """Return in how many places each variable is used, but where it is only shown."""
    showing = _showing(root, data)
    uses: Counter[str] = Counter()
    waiting: list[tuple[Node, str]] = [(root, "")]
    while waiting:
        node, assigned = waiting.pop()
        if node.type == "command" and _name_of(node, data) in showing:
            continue
        if node.type == "variable_assignment":
            assigned = _name_of(node, data)
        elif node.type == "variable_name" and node.parent is not None:
            name = data[node.start_byte : node.end_byte].decode(errors="replace")
            # NAME=${NAME:-8} uses what was there before.
            if node.parent.type not in _ASSIGNMENTS and name != assigned:
                uses[name] += 1
        waiting += [(child, assigned) for child in node.named_children]
    return uses


def _showing(root: Node, data: bytes) -> frozenset[str]:
    """Return the commands that only show what they are given, the script's own functions too."""
    found = set(_SHOWS_ONLY)
    # Functions inside of functions are not looked for: each would be walked once more.
    for node in root.named_children:
        if node.type == "function_definition":
            inside = {_name_of(each, data) for each in _walk_all(node) if each.type == "command"}
            if inside <= found:
                found.add(_name_of(node, data))
    return frozenset(found)


def _called(root: Node, data: bytes) -> frozenset[str]:
    return frozenset(_name_of(node, data) for node in _walk_all(root) if node.type == "command")


def _grown(body: Node, data: bytes) -> Iterator[str]:
    for node in _walk_all(body):
        if node.type == "variable_assignment" and any(c.type == "+=" for c in node.children):
            yield _name_of(node, data)


def _name_of(node: Node, data: bytes) -> str:
    name = node.child_by_field_name("name")
    return "" if name is None else data[name.start_byte : name.end_byte].decode(errors="replace")


def _first_error(root: Node) -> int:
    return 1 + min(
        (n.start_point[0] for n in _walk_all(root) if n.type == "ERROR" or n.is_missing),
        default=root.start_point[0],
    )
