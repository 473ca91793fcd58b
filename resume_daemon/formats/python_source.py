"""Python source as a syntax tree: parsed, never compiled, imported or run."""

from __future__ import annotations

import ast
import os
import warnings
from pathlib import Path

from resume_daemon.errors import FormatError
from resume_daemon.files import read_bounded

SOURCE_LIMIT = 2 * 1024 * 1024
"""Bytes of one file: the largest modules of the trainers have 400 KiB."""


def read_source(path: Path) -> ast.Module:
    """Return the syntax tree of a file; links are followed.

    Raises:
        FormatError: It is not Python as this interpreter's version reads it, or is too large.
        VanishedError: It is not there.
        ResumeDaemonError: It cannot be read.
    """
    return parse_source(read_bounded(Path(os.path.realpath(path)), SOURCE_LIMIT), path)


def parse_source(source: bytes | str, path: Path) -> ast.Module:
    """Return the syntax tree of a file's content.

    Args:
        source: The content; text without a byte order mark.
        path: Where it came from, for messages.

    Raises:
        FormatError: It is not Python as this interpreter's version reads it.
    """
    try:
        with warnings.catch_warnings():
            # The parser tells of odd escapes on stderr, which is their author's business.
            warnings.simplefilter("ignore")
            return ast.parse(source)
    except SyntaxError as error:
        where = f"line {error.lineno}: " if error.lineno else ""
        raise FormatError("read the Python of", path, f"{where}{error.msg}") from None
    except (ValueError, RecursionError, MemoryError) as error:
        reason = str(error) or "it is nested too deeply"
        raise FormatError("read the Python of", path, reason) from None
