"""Words of a shell script: what they stand for as far as that is known without running anything."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from resume_daemon.parameters.sources.shell_arithmetic import evaluate

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from tree_sitter import Node

MAX_LENGTH: Final = 64 * 1024
"""Characters of one word; a variable that holds itself twice grows without end."""

MAX_PARTS: Final = 4096

_ESCAPED: Final = re.compile(r"\\(.|\n)", re.DOTALL)
_DIRNAME: Final = (
    r'\$\(\s*dirname\s+(?:--\s+)?"?\$(?:\{BASH_SOURCE(?:\[0\])?\}|BASH_SOURCE|0|\{0\})"?\s*\)'
)
_OWN_DIRECTORY: Final = re.compile(
    rf'{_DIRNAME}|\$\(\s*cd\s+(?:-P\s+)?(?:--\s+)?"?{_DIRNAME}"?\s*(?:&?>\s*/dev/null\s*)?'
    r"(?:2>&1\s*)?&&\s*pwd(?:\s+-P)?\s*\)"
)
"""The common ways to ask for it: ``$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)``."""

_IN_QUOTES: Final = frozenset('"$`\\')
_DEFAULTS: Final = {":-", "-", ":=", "="}


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a word.

    Attributes:
        text: What it stands for; of what is not known, how it is written.
        span: Its bytes in the script, where exactly this text stands (perhaps in quotation marks);
            for a variable those of the value that was assigned to it.
        line: Line of that place, from 1.
        certain: Whether ``text`` is what the shell will make of it.
        known: Whether the text is known at all; where it is and is not certain, a condition decides
            whether it is there.
        quoted: Bytes with the quotation marks, where the whole word stands in them.
        splits: Whether the shell splits it at white space: an expansion without quotation marks.
    """

    text: str
    span: tuple[int, int] | None
    line: int
    certain: bool = True
    known: bool = True
    quoted: tuple[int, int] | None = None
    splits: bool = False


@dataclass(frozen=True, slots=True)
class Word:
    """A word, by its pieces; one that stands for nothing has none."""

    parts: tuple[Part, ...] = ()

    @property
    def text(self) -> str:
        """What it stands for."""
        return "".join(part.text for part in self.parts)

    @property
    def certain(self) -> bool:
        """Whether the text is what the shell will make of it."""
        return all(part.certain for part in self.parts)

    @property
    def line(self) -> int | None:
        """Line of what it stands for."""
        return self.parts[0].line if self.parts else None

    @property
    def span(self) -> tuple[int, int] | None:
        """The bytes that are the whole text, quotation marks included; None where it is several."""
        if len(self.parts) != 1 or not self.certain:
            return None
        return self.parts[0].quoted or self.parts[0].span

    def after(self, count: int) -> Word:
        """Return the word without its first characters."""
        left = []
        for part in self.parts:
            cut = min(count, len(part.text))
            count -= cut
            if cut < len(part.text):
                left.append(_without(part, cut) if cut else part)
        return Word(tuple(left))

    def uncertain(self) -> Word:
        """Return the same, as something that is not certain."""
        return Word(tuple(replace(part, certain=False) for part in self.parts))


def _without(part: Part, cut: int) -> Part:
    span = part.span
    if span is not None:
        span = (span[0] + len(part.text[:cut].encode()), span[1])
    return replace(part, text=part.text[cut:], span=span, quoted=None)


def split(word: Word) -> list[Word]:
    """Return the words that the shell makes of one: expansions without quotation marks split."""
    words: list[list[Part]] = [[]]
    for part in word.parts:
        if not (part.splits and part.known):
            words[-1].append(part)
            continue
        pieces = list(re.finditer(r"\S+", part.text))
        if not pieces:
            words.append([])
        for number, found in enumerate(pieces):
            if number or found.start():
                words.append([])
            piece = _without(part, found.start()) if found.start() else part
            words[-1].append(_first(piece, len(found[0])))
        if pieces and pieces[-1].end() < len(part.text):
            words.append([])
    return [Word(tuple(parts)) for parts in words if parts]


def _first(part: Part, count: int) -> Part:
    if count == len(part.text):
        return part
    text = part.text[:count]
    span = None if part.span is None else (part.span[0], part.span[0] + len(text.encode()))
    return replace(part, text=text, span=span, quoted=None)


def read_again(words: Iterable[Word]) -> list[Word]:
    """Return the words that ``eval`` reads: joined, split once more, without quotation marks."""
    found: list[Word] = []
    current: list[Part] = []
    quote = ""
    escaped = False
    for part in _joined(words):
        if not part.known:
            current.append(part)
            escaped = False
            continue
        begin = 0
        for at, character in enumerate(part.text):
            if escaped:
                escaped = False
                if character == "\n":
                    begin = at + 1
                continue
            white = character.isspace() and not quote
            mark = character == quote or (not quote and character in {"'", '"'})
            following = part.text[at + 1 : at + 2]
            escaped = character == "\\" and (
                not quote or (quote == '"' and following in {*_IN_QUOTES, "\n"})
            )
            if white or mark or escaped:
                current += [_slice(part, begin, at)] if at > begin else []
                begin = at + 1
            if mark:
                quote = "" if quote else character
            if white and current:
                found.append(Word(tuple(current)))
                current = []
        current += [_slice(part, begin, len(part.text))] if begin < len(part.text) else []
    return [*found, Word(tuple(current))] if current else found


def _joined(words: Iterable[Word]) -> Iterator[Part]:
    for word in words:
        yield from word.parts
        yield Part(" ", None, word.line or 1)


def _slice(part: Part, begin: int, end: int) -> Part:
    return _first(_without(part, begin) if begin else part, end - begin)


Variable = list[Word] | Word
"""An array, or a single value."""


class Resolver:
    """Turns nodes of the syntax tree into words, with the variables as they are at that place.

    Attributes:
        variables: What was assigned so far, by name; a None is something that is not known.
        origins: For the place of a value, the variable that it was assigned to.
    """

    def __init__(self, data: bytes, environ: Mapping[str, str], directory: str) -> None:
        self._data = data
        self._environ = environ
        self._directory = directory
        self.variables: dict[str, Variable | None] = {}
        self.origins: dict[tuple[int, int], str] = {}

    def words(self, node: Node) -> list[Word]:
        """Return the words that an argument becomes; an array becomes one for each element."""
        if (name := self._array_of(node)) is not None:
            value = self.variables.get(name)
            if isinstance(value, list):
                return [self._used(name, word) for word in value]
            if value is None:
                return [Word((self._unknown(node),))]
        return split(self.word(node))

    def word(self, node: Node, *, quoted: bool = False) -> Word:
        """Return the word that a node stands for."""
        parts = tuple(self._parts(node, quoted=quoted))
        if len(parts) > MAX_PARTS or sum(len(part.text) for part in parts) > MAX_LENGTH:
            return Word((self._unknown(node),))
        return Word(parts)

    def elements(self, node: Node) -> list[Word]:
        """Return the words of an array in brackets."""
        named = [each for each in node.named_children if each.type != "comment"]
        return [word for each in named[:MAX_PARTS] for word in self.words(each)]

    def _parts(self, node: Node, *, quoted: bool) -> Iterator[Part]:
        match node.type:
            case "word" | "number" | "variable_name" | "string_content" | "command_name":
                if node.type == "command_name" and node.named_child_count:
                    yield from self._parts(node.named_children[0], quoted=quoted)
                else:
                    yield from self._literal(node.start_byte, node.end_byte, quoted=False)
            case "raw_string":
                yield self._quotation(node, self._text(node.start_byte + 1, node.end_byte - 1))
            case "string":
                yield from self._string(node)
            case "concatenation":
                for child in node.children:
                    yield from self._parts(child, quoted=quoted)
            case "simple_expansion":
                yield from self._variable(node, self._name(node), quoted=quoted)
            case "expansion":
                yield from self._expansion(node, quoted=quoted)
            case "arithmetic_expansion":
                yield self._arithmetic(node)
            case "command_substitution" if self._is_own_directory(node):
                yield Part(self._directory, None, node.start_point[0] + 1)
            case _:
                yield self._unknown(node)

    def _string(self, node: Node) -> Iterator[Part]:
        begin, end = node.start_byte + 1, node.end_byte - 1
        parts: list[Part] = []
        # White space between two expansions is in no child, or in the second, so what is between
        # them is taken from the script.
        for child in node.named_children:
            if child.type == "string_content":
                continue
            text = self._text(child.start_byte, child.end_byte)
            first = child.start_byte + len(text) - len(text.lstrip())
            parts += self._literal(begin, first, quoted=True)
            parts += self._parts(child, quoted=True)
            begin = child.end_byte
        parts += self._literal(begin, end, quoted=True)
        whole = (node.start_byte, node.end_byte)
        if len(parts) == 1 and parts[0].span == (whole[0] + 1, whole[1] - 1):
            parts = [replace(parts[0], quoted=whole)]
        yield from parts or [Part("", None, node.start_point[0] + 1, quoted=whole)]

    def _literal(self, begin: int, end: int, *, quoted: bool) -> list[Part]:
        """Return a stretch of the script without its backslashes, in pieces that stand there."""
        line = self._data.count(b"\n", 0, begin) + 1
        text = self._text(begin, end)
        if "\\" not in text:
            return [Part(text, (begin, end), line)] if text else []
        parts: list[Part] = []
        at = 0
        for found in _ESCAPED.finditer(text):
            kept = found[1]
            if quoted and kept not in _IN_QUOTES and kept != "\n":
                continue
            parts += self._plain(text, at, found.start(), begin, line)
            if kept != "\n":
                parts.append(Part(kept, None, line))
            at = found.end()
        return parts + self._plain(text, at, len(text), begin, line)

    def _plain(self, text: str, first: int, last: int, begin: int, line: int) -> list[Part]:
        if first == last:
            return []
        start = begin + len(text[:first].encode())
        span = (start, start + len(text[first:last].encode()))
        return [Part(text[first:last], span, line + text.count("\n", 0, first))]

    def _quotation(self, node: Node, text: str) -> Part:
        inner = (node.start_byte + 1, node.end_byte - 1)
        whole = (node.start_byte, node.end_byte)
        return Part(text, inner, node.start_point[0] + 1, quoted=whole)

    def _variable(self, node: Node, name: str, *, quoted: bool) -> Iterator[Part]:
        value = self.variables.get(name)
        if isinstance(value, list):
            value = value[0] if value else Word()
        if name in self.variables:
            yield from (
                [self._unknown(node)]
                if value is None
                else self._split(self._used(name, value), quoted=quoted)
            )
        elif name in self._environ:
            line = node.start_point[0] + 1
            yield Part(self._environ[name][:MAX_LENGTH], None, line, splits=not quoted)
        else:
            yield self._unknown(node)

    def _expansion(self, node: Node, *, quoted: bool) -> Iterator[Part]:
        name = self._name(node)
        operator = next((c.type for c in node.children if c.type in _DEFAULTS), None)
        simple = [c for c in node.children if c.type not in {"${", "}", "variable_name"}]
        if name and not simple:
            yield from self._variable(node, name, quoted=quoted)
        elif name and operator is not None:
            known = name in self.variables or name in self._environ
            present = self.variables.get(name, Word()) is not None
            set_ = [] if not known else list(self._variable(node, name, quoted=quoted))
            if known and (not present or ":" not in operator or any(p.text for p in set_)):
                yield from set_
                return
            default = [c for c in node.named_children if c.type != "variable_name"]
            for child in default:
                yield from self._split(self.word(child, quoted=True), quoted=quoted)
        else:
            yield self._unknown(node)

    def _arithmetic(self, node: Node) -> Part:
        def number(name: str) -> int | None:
            value = self.variables.get(name)
            if (
                isinstance(value, Word)
                and value.certain
                and re.fullmatch(r"-?[1-9]\d{0,17}|0", value.text)
            ):
                return int(value.text)
            return None

        text = self._text(node.start_byte, node.end_byte)
        braces = text.startswith("$((") and text.endswith("))")
        result = evaluate(text[3:-2], number) if braces else None
        if result is None:
            return self._unknown(node)
        return Part(str(result), None, node.start_point[0] + 1)

    def _used(self, name: str, word: Word) -> Word:
        """Return a variable's value, and remember where it was assigned."""
        for part in word.parts:
            if part.span is not None:
                self.origins.setdefault(part.span, name)
        return word

    def _split(self, word: Word, *, quoted: bool) -> Iterable[Part]:
        return word.parts if quoted else (replace(part, splits=True) for part in word.parts)

    def _array_of(self, node: Node) -> str | None:
        """Return the name of the array whose every element ``"${NAME[@]}"`` stands for."""
        if node.type == "string" and node.named_child_count == 1:
            inner = node.named_children[0]
            if (inner.start_byte, inner.end_byte) != (node.start_byte + 1, node.end_byte - 1):
                return None
            node = inner
        if node.type == "expansion" and node.named_child_count == 1:
            subscript = node.named_children[0]
            if subscript.type == "subscript" and subscript.named_child_count > 1:
                name, index = subscript.named_children[:2]
                if self._text(index.start_byte, index.end_byte) in {"@", "*"}:
                    return self._text(name.start_byte, name.end_byte)
        return None

    def _is_own_directory(self, node: Node) -> bool:
        """Return whether this asks for the directory that the script lies in."""
        return _OWN_DIRECTORY.fullmatch(self._text(node.start_byte, node.end_byte)) is not None

    def _name(self, node: Node) -> str:
        for child in node.named_children:
            if child.type == "variable_name":
                return self._text(child.start_byte, child.end_byte)
        return ""

    def _unknown(self, node: Node) -> Part:
        text = self._text(node.start_byte, node.end_byte).strip()
        return Part(text[:MAX_LENGTH], None, node.start_point[0] + 1, certain=False, known=False)

    def _text(self, begin: int, end: int) -> str:
        return self._data[begin:end].decode(errors="replace")
