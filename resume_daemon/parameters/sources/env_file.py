"""Environment files: ``.env``, systemd's ``EnvironmentFile``, docker's ``--env-file``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from resume_daemon.parameters.sources.text import Places, read_text, value_of
from resume_daemon.parameters.values import Setting

if TYPE_CHECKING:
    from pathlib import Path

    from resume_daemon.parameters.values import Source

_LINE: Final = re.compile(
    r"[ \t]*(?:export[ \t]+)?(?P<name>[A-Za-z_][A-Za-z0-9_]*)[ \t]*=[ \t]*"
    r"(?P<value>'[^'\n]*'|\"(?:[^\"\\\n]|\\.)*\"|[^\n#]*?(?:\S#[^\n#]*?)*)"
    r"[ \t]*(?:#[^\n]*)?\r?"
)


def read_environment_file(path: Path, source: Source) -> list[Setting]:
    """Return the assignments of an environment file; nothing is expanded.

    What the readers of such files disagree about (``$NAME``, a backslash, a line that goes on) is
    not certain.

    Raises:
        FormatError: It is no text.
        VanishedError: It is not there.
        ResumeDaemonError: It cannot be read.
    """
    text = read_text(path, "read the environment file")
    places = Places(text)
    found = []
    begin = 0
    for line in text.split("\n"):
        if match := _LINE.fullmatch(line):
            word = match["value"]
            quoted = word[:1] in {"'", '"'} and len(word) > 1
            inner = word[1:-1] if quoted else word
            certain = word[:1] == "'" or not ("$" in inner or "\\" in inner)
            first, last = begin + match.start("value"), begin + match.end("value")
            found.append(
                Setting(
                    match["name"],
                    value_of(inner),
                    source,
                    line=places.line(begin),
                    span=places.span(first, last) if certain and first < last else None,
                    certain=certain,
                )
            )
        begin += len(line) + 1
    return found
