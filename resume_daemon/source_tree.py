"""The Python files of a project: bounded, and nothing of them is read here."""

from __future__ import annotations

import os
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MAX_DIRECTORIES = 400
"""Directories that are looked into: a project that writes its runs into itself has many more."""

_MAX_ENTRIES = 5000
_NEVER = frozenset({"__pycache__", "node_modules", "site-packages", "wandb"})


def python_files(
    root: Path, *, most_depth: int, passed_over: Callable[[Path], bool] = lambda _: False
) -> Iterator[Path]:
    """Yield the Python files below a directory, its own first; links to directories stay out.

    Hidden directories, installed packages and whole environments are passed over.

    Args:
        root: The directory.
        most_depth: Directories below it, one in another, that are looked into.
        passed_over: Tells further directories that stay out.
    """
    pending = [(root, 0)]
    for _ in range(MAX_DIRECTORIES):
        if not pending:
            return
        directory, depth = pending.pop(0)
        try:
            with os.scandir(directory) as entries:
                listed = sorted(islice(entries, _MAX_ENTRIES), key=lambda entry: entry.name)
        except OSError:
            continue
        if any(entry.name == "pyvenv.cfg" for entry in listed):
            continue
        for entry in listed:
            path = Path(entry.path)
            if entry.is_dir(follow_symlinks=False):
                hidden = entry.name.startswith(".") or entry.name in _NEVER
                if depth < most_depth and not hidden and not passed_over(path):
                    pending.append((path, depth + 1))
            elif entry.name.endswith(".py"):
                yield path
