"""Settings of a training, each with the place that it was read from."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


class SourceKind(StrEnum):
    """Where a value comes from, the strongest first: the guide's order of precedence.

    What a checkpoint holds is what the run *was* trained with; the first four are what the next
    start *will* be given.
    """

    COMMAND_LINE = "command line"
    ENVIRONMENT = "environment"
    CONFIGURATION = "configuration file"
    CODE = "default in code"
    CHECKPOINT = "checkpoint"
    TRACKER = "tracker"


@dataclass(frozen=True, slots=True)
class Source:
    """One place that settings are read from.

    Attributes:
        kind: What it is.
        path: The file; None for the environment of this process.
        label: How it is named to a person ("train.sh", "checkpoint-20/training_args.bin",
            "W&B run 3f2a", "configs.py: GRPOScriptArguments").
    """

    kind: SourceKind
    path: Path | None
    label: str


@dataclass(frozen=True, slots=True)
class Setting:
    """One value of one name, where it stands.

    Attributes:
        name: The trainer's own name ("max_completion_length"), without dashes.
        value: What it is: a number, text, truth value, None, or a list or mapping of those.
        source: Where it was read.
        line: Line in the file, from 1, or None.
        span: First byte and the byte after the last of the value's text in the file, where it
            could be replaced there without touching anything else; else None.
        certain: False where it is computed when the training starts, so that ``value`` is only
            what can be said without running anything.
        also: Names of other settings that the same text stands for, so that whoever replaces it
            changes all of them.
        scope: What it belongs to in that file: a class's name, a key path, a command; or "".
    """

    name: str
    value: Any
    source: Source
    line: int | None = None
    span: tuple[int, int] | None = None
    certain: bool = True
    scope: str = ""
    also: tuple[str, ...] = ()
