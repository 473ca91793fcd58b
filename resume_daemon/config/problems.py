"""What is wrong with a configuration: every problem, with its place, in one error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from resume_daemon.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        path: The setting, such as ``watch.settle_seconds``; empty where it is the whole file.
        line: Its line in the file, from 1, or None where it was not given in the file.
        message: What is expected instead, without a full stop. Never the value of a secret.
    """

    path: str
    line: int | None
    message: str

    def __str__(self) -> str:
        """Return one line for a person."""
        where = f"line {self.line}: " if self.line is not None else ""
        return f"{where}{self.path} {self.message}" if self.path else f"{where}{self.message}"


class ConfigurationError(UsageError):
    """A configuration cannot be used; ``problems`` holds everything that is wrong with it."""

    def __init__(self, path: Path | None, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda p: (p.line or 0, p.path)))
        reason = str(self.problems[0])
        if len(self.problems) > 1:
            lines = "\n".join(f"  {problem}" for problem in self.problems)
            reason = f"{len(self.problems)} settings are wrong:\n{lines}"
        super().__init__("use the configuration", path, reason)


def dotted(location: Sequence[str | int]) -> str:
    """Return a location as people write it: ``alerts.sinks[0].url``."""
    text = ""
    for part in location:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part}" if text else part
    return text
