"""What a step would change in a file, line by line."""

from __future__ import annotations

from difflib import unified_diff
from typing import TYPE_CHECKING

from resume_daemon.report.plain import plain

if TYPE_CHECKING:
    from collections.abc import Iterator

_NO_END = "\\ No newline at end of file"


def difference(name: str, before: bytes, after: bytes) -> Iterator[str]:
    """Yield the lines of a unified difference, without line ends; control characters are escaped.

    Args:
        name: The file, as it is shown.
        before: Its content.
        after: What it would be.
    """
    old, new = (_lines(content) for content in (before, after))
    for line in unified_diff(old, new, name, f"{name} (changed)", n=1):
        body = line.removesuffix("\n").removesuffix("\r")
        yield plain(body.replace("\t", "    "))
        if not line.endswith("\n") and line[:1] in {" ", "-", "+"}:
            yield _NO_END


def _lines(content: bytes) -> list[str]:
    text = content.decode(errors="backslashreplace")
    parts = text.split("\n")
    ended = [f"{part}\n" for part in parts[:-1]]
    return [*ended, parts[-1]] if parts[-1] else ended
