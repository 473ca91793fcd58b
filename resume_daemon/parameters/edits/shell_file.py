"""A value in a shell script or an environment file: words are told apart, and nothing is run."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from resume_daemon.parameters.edits.kind import RefusedError, plain_text, quote_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_PLAIN: Final = re.compile(r"[A-Za-z0-9_.,:/@%+=-]+")
_QUOTED: Final = {"'": re.compile(r"[^'\n]*"), '"': re.compile(r'[^"$`\\\n!]*')}
_NAMED: Final = re.compile(r"(?s)(?P<name>-{0,2}[A-Za-z_][A-Za-z0-9_.-]*)\+?=(?P<value>.*)")
_DEFAULT: Final = re.compile(r"(?s)\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*):?[-=](?P<value>[^{}]*)\}")
_HEREDOC: Final = re.compile(r"<<(?P<tabs>-?)[ \t]*(?P<end>\\?\w+|'[^'\n]*'|\"[^\"\n]*\")")
_SEPARATORS: Final = " \t\r\n;&|()<>"


class ShellFile:
    """POSIX shell, bash or zsh; ``NAME=value`` lines as systemd and docker read them, too."""

    def write(self, old: str, value: Any) -> str:
        """Return a word in the manner of the old one: in the same quotation marks, or in none."""
        text = plain_text(value)
        quote = quote_of(old)
        inner = old[1:-1] if quote else old
        # In quotation marks of its own, or between those that the span leaves out.
        allowed = _QUOTED[quote] if quote else _PLAIN
        if not allowed.fullmatch(inner):
            raise RefusedError("the shell computes it")
        if not allowed.fullmatch(text):
            raise RefusedError(f"{text!r} would have to be quoted in another way")
        return f"{quote}{text}{quote}"

    def meaning(self, data: bytes) -> Mapping[tuple[Any, ...], Any]:
        """Return every word by its number; a name, its value and its default apart."""
        text = data.decode(errors="surrogateescape")
        found: dict[tuple[Any, ...], Any] = {}
        for number, word in enumerate(_words(text)):
            found.update(_parts(word, (number,)))
        return found


def _parts(word: str, place: tuple[Any, ...]) -> Iterator[tuple[tuple[Any, ...], str]]:
    if named := _NAMED.fullmatch(word):
        yield (*place, "name"), named["name"]
        yield from _parts_of_value(named["value"], (*place, "value"))
    else:
        yield from _parts_of_value(word, place)


def _parts_of_value(value: str, place: tuple[Any, ...]) -> Iterator[tuple[tuple[Any, ...], str]]:
    bare = value[1:-1] if quote_of(value) else value
    if default := _DEFAULT.fullmatch(bare):
        inner = default["value"]
        yield (*place, "variable"), default["name"]
        yield (*place, "default"), inner[1:-1] if quote_of(inner) else inner
    elif bare != value and re.search(r"\s-", bare):
        # A command that is put together as text: its words are told apart, too.
        for number, piece in enumerate(bare.split()):
            yield from _parts(piece, (*place, number))
    else:
        yield place, bare


def _words(text: str) -> Iterator[str]:
    """Yield words as written, with their quotation marks; a document between marks is one word.

    Raises:
        RefusedError: A quotation mark is never closed.
    """
    position, end = 0, len(text)
    waiting: list[tuple[str, bool]] = []
    while position < end:
        character = text[position]
        if character == "\n":
            position += 1
            for mark, tabs in waiting:
                body_end = _end_of_document(text, position, mark, tabs=tabs)
                yield text[position:body_end]
                position = body_end
            waiting = []
        elif found := _here_document(text, position):
            waiting.append((found["end"].strip("'\"\\"), bool(found["tabs"])))
            position = found.end()
            yield found[0]
        elif character in _SEPARATORS:
            position += 1
        elif character == "#":
            line_end = text.find("\n", position)
            position = end if line_end < 0 else line_end
        elif text.startswith(("\\\n", "\\\r\n"), position):
            position = text.index("\n", position) + 1
        else:
            word_end = _end_of_word(text, position)
            yield text[position:word_end]
            position = word_end


def _here_document(text: str, position: int) -> re.Match[str] | None:
    """Return the mark that begins a document; ``<<<`` is a word that is handed over, and none."""
    if text.startswith("<<<", position) or text[position - 1 : position] == "<":
        return None
    return _HEREDOC.match(text, position)


def _end_of_document(text: str, position: int, mark: str, *, tabs: bool) -> int:
    while position < len(text):
        line_end = text.find("\n", position)
        line_end = len(text) if line_end < 0 else line_end
        line = text[position:line_end]
        position = min(line_end + 1, len(text))
        if (line.lstrip("\t") if tabs else line) == mark:
            break
    return position


def _end_of_word(text: str, position: int) -> int:
    end = len(text)
    while position < end and text[position] not in _SEPARATORS:
        character = text[position]
        if character == "\\":
            position += 2
        elif character == "'":
            position = _closing(text, position + 1, "'") + 1
        elif character == '"':
            position = _closing(text, position + 1, '"') + 1
        elif text.startswith("${", position):
            position = _closing(text, position + 2, "}") + 1
        else:
            position += 1
    return min(position, end)


def _closing(text: str, position: int, mark: str) -> int:
    """Return where a quotation or an expansion ends; what a backslash is before is passed over."""
    while position < len(text) and text[position] != mark:
        position += 2 if text[position] == "\\" and mark != "'" else 1
    if position >= len(text):
        raise RefusedError(f"a {mark} is missing, so that its words cannot be told apart")
    return position
