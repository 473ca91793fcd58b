"""The files that a launch script names: its configurations, environment files and code."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from resume_daemon.parameters.sources.discovery import SourceFiles, kind_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from resume_daemon.parameters.sources.launch import Launch

_CONFIGURATION: Final = {"config", "config_file", "config_path", "training_config", "train_config"}


def files_of(launch: Launch, script: Path, working: Path) -> SourceFiles:
    """Return the files that a launch script names, as far as they are there.

    Relative names are looked for where the script changes to, beside it, above it (scripts often
    lie in a folder of their own), and in the working directory; the first that is there is taken.

    Args:
        launch: What the script says.
        script: Where it is.
        working: The working directory of this process.
    """
    bases = [script.parent / each for each in launch.directories]
    bases += [script.parent, script.parent.parent, working]
    configurations = [
        each.value
        for each in launch.settings
        if each.certain and each.name in _CONFIGURATION and isinstance(each.value, str)
    ]
    found = list(_there(configurations, bases))
    sourced = [path for path in _there(launch.sourced, bases) if kind_of(path)]
    return SourceFiles(
        configurations=tuple(path for path in found if kind_of(path) == "configurations"),
        environment_files=tuple(p for p in sourced if kind_of(p) == "environment_files"),
        code=tuple(_there([_code_of(launch.program)], bases)),
    )


def launcher_configuration(launch: Launch, script: Path, working: Path) -> Path | None:
    """Return accelerate's own configuration file, where the script names one that is there."""
    names = [each.value for each in launch.launcher if each.name == "config_file" and each.certain]
    bases = [script.parent / each for each in launch.directories]
    return next(_there(map(str, names), [*bases, script.parent, working]), None)


def _code_of(program: str) -> str:
    """Return the file of a script or a module (``pkg.train``); "" where it is neither."""
    if program.endswith(".py"):
        return program
    parts = program.split(".")
    return f"{'/'.join(parts)}.py" if all(part.isidentifier() for part in parts) else ""


def _there(names: Iterable[str], bases: Iterable[Path]) -> Iterator[Path]:
    for name in names:
        for base in bases:
            path = Path(os.path.normpath(base / name))
            if name and os.path.isfile(path):  # noqa: PTH113 - that of Path may raise.
                yield path
                break
