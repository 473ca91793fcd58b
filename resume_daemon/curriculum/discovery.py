"""Which files of a run are its curriculum state. No tree is walked: runs hold 100,000 samples."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from resume_daemon.errors import UsageError
from resume_daemon.files import read_error

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from resume_daemon.curriculum.schemas import Schema

MAX_FILES = 16
"""State files of one run; real runs have one or two."""

MAX_SCANNED = 20_000
"""Entries of one directory that are looked at."""

MAX_DIRECTORIES = 256
"""Directories that one configured pattern may open."""

SUB_DIRECTORY = "curriculum"

_NOT_STATE = re.compile(r"\..*|.*(\.tmp|\.bak|\.backup|\.old|~)")
"""Our own sidecar, other hidden files, temporaries and copies that somebody put aside."""

_CHECKPOINT = re.compile(
    r"(tmp-)?(checkpoint|global_step|step|iter|epoch|ep)[-_]?\d.*|.*\.orbax-checkpoint-tmp.*"
)
"""Directory names that trainers give checkpoints: what is in one belongs to it alone."""


@dataclass(frozen=True, slots=True)
class Discovered:
    """State files as paths in the run, with ``/``; ``left_out`` counts those beyond the bound."""

    files: tuple[str, ...]
    left_out: int = 0


def check_pattern(pattern: str) -> None:
    """Refuse a configured pattern that leaves the run or walks a tree.

    Raises:
        UsageError: It is absolute, or has ``..`` or ``**`` in it.
    """
    parts = PurePosixPath(pattern).parts
    if not parts or pattern.startswith("/") or ".." in parts or any("**" in p for p in parts):
        raise UsageError(
            "use the curriculum file pattern",
            pattern,
            "it must lie in the run directory, and '**' would walk the whole of it",
            hint="Name the folders, as in 'state/*.json'.",
        )


def discover(run: Path, schemas: Sequence[Schema], patterns: Sequence[str] = ()) -> Discovered:
    """Return the curriculum state files of a run, the configured ones first.

    Looked at are the configured patterns and, by the schemas' names, the run directory and
    ``curriculum/`` in it. Checkpoint directories and hidden files are skipped. Links are listed:
    reading decides whether one is followed.

    Raises:
        VanishedError: The run directory is not there.
        ResumeDaemonError: It cannot be listed.
        UsageError: A pattern is not one that is allowed.
    """
    names: dict[str, None] = {}
    for pattern in patterns:
        check_pattern(pattern)
        names |= dict.fromkeys(sorted(_expand(run, pattern)))
    for folder in ("", SUB_DIRECTORY):
        names |= dict.fromkeys(
            str(PurePosixPath(folder, name))
            for name in sorted(_scan(run / folder, required=not folder))
            if any(schema.matches_name(name) for schema in schemas)
        )
    files = tuple(name for name in names if not (run / name).is_dir())
    return Discovered(files[:MAX_FILES], max(0, len(files) - MAX_FILES))


def _expand(run: Path, pattern: str) -> list[str]:
    found = [""]
    for part in PurePosixPath(pattern).parts:
        found = [
            str(PurePosixPath(folder, name))
            for folder in found[:MAX_DIRECTORIES]
            for name in _scan(run / folder)
            if fnmatchcase(name, part)
        ]
    return found


def _scan(directory: Path, *, required: bool = False) -> Iterator[str]:
    """Yield the names in a directory that may be state or lead to it; none if it is not there."""
    if directory.is_symlink() and not required:
        return
    try:
        with os.scandir(directory) as entries:
            for entry in islice(entries, MAX_SCANNED):
                if _NOT_STATE.fullmatch(entry.name):
                    continue
                if _CHECKPOINT.fullmatch(entry.name) and entry.is_dir():
                    continue
                yield entry.name
    except OSError as error:
        if required:
            raise read_error(error, directory) from error
