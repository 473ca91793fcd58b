"""Which files hold the code of a run's curriculum. Bounded, and nothing of them is run."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from resume_daemon.curriculum.module_checks import NOT_PYTHON
from resume_daemon.curriculum.modules import module_of
from resume_daemon.errors import ResumeDaemonError, UsageError, VanishedError
from resume_daemon.formats.python_source import read_source
from resume_daemon.source_tree import python_files

if TYPE_CHECKING:
    import ast
    from collections.abc import Iterator, Sequence

    from resume_daemon.curriculum.modules import CodeModule
    from resume_daemon.findings import Finding

MAX_FILES = 200
"""Files that are read of what the user names."""

MAX_DEPTH = 4

_SKIPPED = re.compile(
    r"build|dist|.*\.egg-info|.*backup.*|tests?|"
    r"(tmp-)?(checkpoint|global_step)[-_]?\d.*"
)


@dataclass(frozen=True, slots=True)
class Code:
    """The code that was read.

    Attributes:
        modules: Its classes.
        trees: Path and syntax tree of each file.
        findings: About files that could not be read.
        left_out: Files beyond the bound, which were not read.
    """

    modules: tuple[CodeModule, ...] = ()
    trees: tuple[tuple[Path, ast.Module], ...] = ()
    findings: tuple[Finding, ...] = ()
    left_out: int = 0


def find_code(run: Path, working: Path) -> list[Path]:
    """Return the files below the working directory that a curriculum is named in.

    Only where the run lies below it too, as it does when a project writes its runs into itself:
    any other directory may well hold the code of something else.

    Args:
        run: The run directory.
        working: The directory in which the command was started.
    """
    real, above = Path(os.path.realpath(run)), Path(os.path.realpath(working))
    if real == above or not real.is_relative_to(above):
        return []
    return [
        path
        for path in _python_files(above, skip=real)
        if "curriculum" in str(path.relative_to(above)).lower()
    ][:MAX_FILES]


def named_code(places: Sequence[Path]) -> list[Path]:
    """Return the Python files that the user names, with those of each directory.

    Raises:
        UsageError: One is not there.
    """
    found: dict[Path, None] = {}
    for place in places:
        if place.is_dir():
            found |= dict.fromkeys(_python_files(place))
        elif os.path.lexists(place):
            found[place] = None
        else:
            raise UsageError(
                "read the code in", place, "it is not there", hint="Give a file or a directory."
            )
    return list(found)


def read_code(files: Sequence[Path], *, beside: Path) -> Code:
    """Read the files; one that cannot be read is a finding.

    Args:
        files: Those to read.
        beside: Names are told relative to this directory, where they lie below it.
    """
    modules: list[CodeModule] = []
    trees: list[tuple[Path, ast.Module]] = []
    findings: list[Finding] = []
    for path in files[:MAX_FILES]:
        name = _name(path, beside)
        try:
            tree = read_source(path)
        except VanishedError:
            continue
        except ResumeDaemonError as error:
            findings.append(NOT_PYTHON.finding(f"{name}: {error.reason}.", file=name))
            continue
        modules.append(module_of(tree, name))
        trees.append((path, tree))
    left_out = max(0, len(files) - MAX_FILES)
    return Code(tuple(modules), tuple(trees), tuple(findings), left_out)


def _name(path: Path, beside: Path) -> str:
    real, above = os.path.realpath(path), os.path.realpath(beside)
    return os.path.relpath(real, above) if Path(real).is_relative_to(above) else str(path)


def _python_files(root: Path, skip: Path | None = None) -> Iterator[Path]:
    def passed_over(directory: Path) -> bool:
        return directory == skip or _SKIPPED.fullmatch(directory.name) is not None

    return python_files(root, most_depth=MAX_DEPTH, passed_over=passed_over)
