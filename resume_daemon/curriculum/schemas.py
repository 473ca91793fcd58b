"""What the curriculum state of a known project looks like, and which one a document is."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from functools import cache
from importlib.resources import files as package_files
from typing import TYPE_CHECKING, Any

import yaml

from resume_daemon.curriculum.paths import find, parse_path
from resume_daemon.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

SHAPE_ALONE = 2
"""Required paths from which on a document is recognised under any file name."""


class Unit(StrEnum):
    """What the step of a state counts; only optimizer steps compare with a checkpoint's."""

    OPTIMIZER_STEPS = "optimizer steps"
    EPISODES = "episodes"
    SAMPLES = "samples"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Schema:
    """One shape of a curriculum state; ``schemas.yaml`` says what each field means."""

    name: str
    files: tuple[str, ...]
    source: str = ""
    binary: bool = False
    required: tuple[str, ...] = ()
    stage: tuple[str, ...] = ()
    step: tuple[str, ...] = ()
    history: tuple[str, ...] = ()
    entry_step: str | None = None
    entry_performance: str | None = None
    timestamp: str | None = None
    history_window: int | None = None
    save_every: int | None = None
    stages: tuple[str, ...] = ()
    stage_fields: tuple[str, ...] = ()
    fresh: Mapping[str, Any] | None = None
    unit: Unit = Unit.UNKNOWN

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any], where: str = "curriculum.schemas") -> Schema:
        """Return the schema that a configuration states.

        Args:
            mapping: The fields, as ``schemas.yaml`` has them.
            where: Its place in the configuration, for the error.

        Raises:
            UsageError: Something is wrong with it; every mistake is named at once.
        """
        problems = [
            f"{key}: there is no such field (there are {', '.join(_READERS)})"
            for key in mapping
            if key not in _READERS
        ]
        problems += [f"{key}: it is required" for key in ("name", "files") if not mapping.get(key)]
        values: dict[str, Any] = {}
        for key, reader in _READERS.items():
            if mapping.get(key) is None:
                continue
            try:
                values[key] = reader(mapping[key])
            except ValueError as error:
                problems.append(f"{key}: {error}")
        if values.get("binary") and (values.get("required") or values.get("step")):
            problems.append("binary: such a file is never parsed, so it has no paths")
        if problems:
            raise UsageError(
                "read the curriculum schema", where, "; ".join(problems), hint="Correct it."
            )
        return cls(**values)

    def matches_name(self, file_name: str) -> bool:
        """Return whether the last part of ``file_name`` fits one of the patterns."""
        last = file_name.rpartition("/")[2]
        return any(fnmatchcase(last, pattern) for pattern in self.files)

    def values(self, document: Any, paths: Iterable[str]) -> list[Any]:
        """Return what the first of ``paths`` that holds anything but null holds."""
        for path in paths:
            if values := [v for v in find(document, parse_path(path)) if v is not None]:
                return values
        return []

    def specificity(self, document: Any, file_name: str) -> tuple[bool, int, bool] | None:
        """Return how closely this schema fits, for comparison with others; None: not at all."""
        named = self.matches_name(file_name)
        last = file_name.rpartition("/")[2]
        fit = (last in self.files, len(self.required), named)
        if self.binary or document is None:
            return fit if self.binary and document is None and named else None
        if not all(find(document, parse_path(path)) for path in self.required):
            return None
        if not self.required:
            found = self.values(document, self.stage) or self.values(document, self.step)
            return fit if found else None
        return fit if named or len(self.required) >= SHAPE_ALONE else None


def recognise(document: Any, file_name: str, schemas: Sequence[Schema]) -> Schema | None:
    """Return the schema that fits most closely: exact name, then required paths, then pattern.

    Args:
        document: The parsed content; None for a file that is not parsed.
        file_name: Its name, or its path in the run.
        schemas: Those to choose from; of two that fit alike the earlier is taken.
    """
    best: tuple[tuple[bool, int, bool], Schema] | None = None
    for schema in schemas:
        fit = schema.specificity(document, file_name)
        if fit is not None and (best is None or fit > best[0]):
            best = (fit, schema)
    return best[1] if best else None


def known_schemas(configured: Sequence[Schema] = ()) -> tuple[Schema, ...]:
    """Return the configured schemas and then the shipped ones, less those of the same names."""
    names = {schema.name for schema in configured}
    return (*configured, *(schema for schema in _shipped() if schema.name not in names))


@cache
def _shipped() -> tuple[Schema, ...]:
    text = (package_files("resume_daemon.curriculum") / "schemas.yaml").read_text("utf-8")
    return tuple(
        Schema.from_mapping(mapping, f"schemas.yaml[{number}]")
        for number, mapping in enumerate(yaml.safe_load(text))
    )


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"it must be a text, not {value!r}")
    return value


def _path(value: Any) -> str:
    parse_path(_text(value))
    return str(value)


def _count(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"it must be a whole number above 0, not {value!r}")
    return value


def _flag(value: Any) -> bool:
    if value not in (True, False):
        raise ValueError(f"it must be true or false, not {value!r}")
    return bool(value)


def _unit(value: Any) -> Unit:
    if value in list(Unit):
        return Unit(value)
    raise ValueError(f"it must be one of {', '.join(Unit)}, not {value!r}")


def _mapping(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict) or not value:
        raise ValueError(f"it must be a mapping of keys to values, not {value!r}")
    return dict(value)


def _several(reader: Callable[[Any], str]) -> Callable[[Any], tuple[str, ...]]:
    def read(value: Any) -> tuple[str, ...]:
        if not isinstance(value, (list, tuple)):
            return (reader(value),)
        return tuple(reader(item) for item in value)

    return read


def _pattern(value: Any) -> str:
    if "/" in _text(value):
        raise ValueError(f"{value!r} is no file name; folders belong in curriculum.files")
    return str(value)


_READERS: dict[str, Callable[[Any], Any]] = {
    "name": _text,
    "source": _text,
    "files": _several(_pattern),
    "binary": _flag,
    "required": _several(_path),
    "stage": _several(_path),
    "step": _several(_path),
    "history": _several(_path),
    "entry_step": _path,
    "entry_performance": _path,
    "timestamp": _path,
    "history_window": _count,
    "save_every": _count,
    "stages": _several(_path),
    "stage_fields": _several(_text),
    "fresh": _mapping,
    "unit": _unit,
}
