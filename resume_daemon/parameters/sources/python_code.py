"""The user's Python configuration: classes with their defaults, across the files that they are in.

Everything is read as text and parsed; nothing is imported, so that nothing is executed.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

from resume_daemon.errors import ResumeDaemonError, UsageError
from resume_daemon.parameters.facts import Unread
from resume_daemon.parameters.sources.python_module import parse_module
from resume_daemon.parameters.sources.text import read_text
from resume_daemon.parameters.values import Setting, Source, SourceKind
from resume_daemon.source_tree import python_files

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from resume_daemon.parameters.sources.python_module import ConfigurationClass, Field, Module

MAX_FILES: Final = 64
"""Files that are read, those that are imported included."""

_MAX_DEPTH: Final = 4
_MAX_BASES: Final = 50
_LEVELS_ABOVE: Final = 3
"""Directories above a file in which what it imports is looked for."""

_SKIPPED: Final = {"build", "dist", "venv"}


@dataclass(frozen=True, slots=True)
class Family:
    """A class that nothing else inherits from, with what it inherits.

    Attributes:
        lineage: The class itself, then its bases, in the order in which Python looks.
    """

    lineage: tuple[ConfigurationClass, ...]

    @property
    def name(self) -> str:
        """The class's own name."""
        return self.lineage[0].name

    def fields(self) -> dict[str, tuple[Field, ConfigurationClass]]:
        """Return every field with the class in which its default stands."""
        found: dict[str, tuple[Field, ConfigurationClass]] = {}
        for each in reversed(self.lineage):
            found.update({field.name: (field, each) for field in each.fields})
        return found


@dataclass(frozen=True, slots=True)
class Code:
    """What the user's code says of a training."""

    settings: tuple[Setting, ...] = ()
    families: tuple[Family, ...] = ()
    unread: tuple[Unread, ...] = ()


def read_code(paths: Sequence[Path], environ: Mapping[str, str], *, asked: bool = True) -> Code:
    """Return what Python files, or directories of them, say.

    A file brings what it imports from beside it or from up to three directories above.

    Args:
        paths: Files or directories.
        environ: The environment that the code would be started with.
        asked: Whether the user names them, so that one that cannot be read is an error.

    Raises:
        UsageError: One that the user names is not there.
        ResumeDaemonError: One that the user names cannot be read, or is no Python.
    """
    modules: dict[Path, Module] = {}
    unread: list[Unread] = []
    waiting: list[tuple[Path, bool]] = []
    for path in paths:
        if asked and not os.path.exists(path):  # noqa: PTH110 - that of Path may raise.
            raise UsageError("read the code", path, "it is not there", hint="Give it to --code.")
        if path.is_dir():
            waiting += [(each, False) for each in islice(_files_below(path), MAX_FILES)]
        else:
            waiting.append((path, asked))
    while waiting and len(modules) < MAX_FILES:
        path, must = waiting.pop(0)
        real = Path(os.path.realpath(path))
        if real in modules:
            continue
        try:
            modules[real] = module = parse_module(read_text(real, "read the code"), path, environ)
        except ResumeDaemonError as error:
            if must:
                raise
            unread.append(Unread(path, error.reason))
            continue
        waiting += [(each, False) for each in _imported_files(module.imports, real)]
    families = tuple(_used(list(_families(modules)), modules))
    return Code(tuple(_settings(families, modules)), families, tuple(unread))


def _files_below(root: Path) -> Iterator[Path]:
    return python_files(
        root, most_depth=_MAX_DEPTH, passed_over=lambda directory: directory.name in _SKIPPED
    )


def _imported_files(imports: Sequence[str], importer: Path) -> Iterator[Path]:
    """Yield the files of imported modules that lie beside the importer or above it."""
    for name in imports:
        level = len(name) - len(name.lstrip("."))
        parts = [part for part in name.lstrip(".").split(".") if part]
        if not all(part.isidentifier() for part in parts):
            continue
        above = [importer.parent, *importer.parents[1 : _LEVELS_ABOVE + 1]]
        roots = [importer.parents[level - 1]] if 0 < level <= len(importer.parents) else above
        for root in roots:
            stem = root.joinpath(*parts)
            candidates = (stem.with_name(f"{stem.name}.py"), stem / "__init__.py")
            there = [path for path in candidates if parts and os.path.isfile(path)]  # noqa: PTH113
            if there:
                yield there[0]
                break


def _families(modules: Mapping[Path, Module]) -> Iterator[Family]:
    """Yield each configuration class that no other class inherits from, with its bases."""
    by_name: dict[str, list[ConfigurationClass]] = {}
    for module in modules.values():
        for each in module.classes:
            by_name.setdefault(each.name, []).append(each)

    def base_of(child: ConfigurationClass, name: str) -> ConfigurationClass | None:
        same = [each for each in by_name.get(name, ()) if each is not child]
        beside = [each for each in same if each.path == child.path]
        return next(iter(beside or same), None)

    def lineage(child: ConfigurationClass) -> list[ConfigurationClass]:
        """Return a class before its bases, and what several of them share after all of them."""
        order: list[ConfigurationClass] = []
        seen: set[int] = set()

        def visit(each: ConfigurationClass, depth: int) -> None:
            seen.add(id(each))
            for name in reversed(each.bases):
                base = base_of(each, name)
                if base is not None and id(base) not in seen and depth < _MAX_BASES:
                    visit(base, depth + 1)
            order.append(each)

        visit(child, 0)
        return order[::-1]

    inherited = {
        id(base)
        for each in by_name.values()
        for child in each
        for name in child.bases
        if (base := base_of(child, name)) is not None
    }
    for found in by_name.values():
        for each in found:
            family = Family(tuple(lineage(each)))
            if id(each) not in inherited and any(one.declared for one in family.lineage):
                yield family


def _used(families: Sequence[Family], modules: Mapping[Path, Module]) -> list[Family]:
    """Return the classes that the arguments are parsed into; all, where nothing tells."""
    parsed = {name for module in modules.values() for name in module.parsed}
    return [each for each in families if each.name in parsed] or list(families)


def _settings(families: Sequence[Family], modules: Mapping[Path, Module]) -> Iterator[Setting]:
    seen: set[int] = set()
    for family in families:
        for field, owner in family.fields().values():
            if id(field) not in seen and field.value.value != "(required)":
                seen.add(id(field))
                yield _setting(field, owner.path, owner.name)
    for path, module in modules.items():
        for name, argument in module.calls:
            yield _setting(argument, path, name)


def _setting(field: Field, path: Path, scope: str) -> Setting:
    return Setting(
        field.name,
        field.value.value,
        Source(SourceKind.CODE, path, f"{path.name}: {scope}"),
        line=field.line,
        span=field.span,
        certain=field.value.certain,
        scope=scope,
    )
