"""What the readers of text files share: bounded reads, lines, and values that are words."""

from __future__ import annotations

import os
import re
from bisect import bisect_right
from pathlib import Path
from typing import Any, Final

from resume_daemon.errors import FormatError
from resume_daemon.files import read_bounded

TEXT_LIMIT: Final = 256 * 1024
"""Bytes of a file above which it is not read: what a person writes is a tenth of that."""

_INTEGER: Final = re.compile(r"[+-]?\d{1,18}", re.ASCII)
_NUMBER: Final = re.compile(r"[+-]?(\d{1,30}\.?\d{0,30}|\.\d{1,30})([eE][+-]?\d{1,4})?", re.ASCII)
_TRUTH: Final = {"true": True, "false": False}


def read_text(path: Path, operation: str) -> str:
    """Return the text of a file, with links to it followed.

    Args:
        path: The file.
        operation: What is attempted, for messages ("read the launch script").

    Raises:
        FormatError: It is no UTF-8 text, too large, or no regular file.
        VanishedError: It is not there.
        ResumeDaemonError: It cannot be read.
    """
    data = read_bounded(Path(os.path.realpath(path)), TEXT_LIMIT)
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise FormatError(operation, path, f"line {line} is not UTF-8 text") from None
    if "\0" in text:
        raise FormatError(operation, path, "it holds zero bytes, so that it is no text")
    return text


def value_of(word: str) -> Any:
    """Return what a word of a command or an environment means: a number, a truth value, or text."""
    if _INTEGER.fullmatch(word):
        return int(word)
    if _NUMBER.fullmatch(word):
        return float(word)
    return _TRUTH.get(word.lower(), word)


class Places:
    """Turns character offsets in a text into byte offsets and lines."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._plain = text.isascii()
        self._starts = [0]
        at = text.find("\n")
        while at >= 0:
            self._starts.append(at + 1)
            at = text.find("\n", at + 1)

    def line(self, character: int) -> int:
        """Return the line of a character, from 1."""
        return bisect_right(self._starts, character)

    def offset(self, line: int, column: int) -> int:
        """Return the character offset of a line (from 1) and a column in characters (from 0)."""
        return self._starts[line - 1] + column

    def span(self, begin: int, end: int) -> tuple[int, int]:
        """Return the bytes that the characters from ``begin`` to ``end`` are, in UTF-8."""
        if self._plain:
            return begin, end
        first = len(self._text[:begin].encode())
        return first, first + len(self._text[begin:end].encode())
