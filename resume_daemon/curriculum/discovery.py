"""Which files of a run are its curriculum state. No tree is walked: runs hold 100,000 samples."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from fnmatch import translate
from functools import cache
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

MAX_SCANNED = 1_000_000
"""Entries of one directory that are looked at; runs with 100,000 sample files are common."""

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
    known = _matcher(tuple(pattern for schema in schemas for pattern in schema.files))
    for folder in ("", SUB_DIRECTORY):
        names |= dict.fromkeys(
            str(PurePosixPath(folder, name))
            for name in sorted(_scan(run / folder, known, required=not folder))
        )
    files = tuple(name for name in names if not (run / name).is_dir())
    return Discovered(files[:MAX_FILES], max(0, len(files) - MAX_FILES))


def _expand(run: Path, pattern: str) -> list[str]:
    found = [""]
    for part in PurePosixPath(pattern).parts:
        found = [
            str(PurePosixPath(folder, name))
            for folder in found[:MAX_DIRECTORIES]
            for name in _scan(run / folder, _matcher((part,)))
        ]
    return found


@cache
def _matcher(patterns: tuple[str, ...]) -> re.Pattern[str]:
    """Return one expression for all patterns: a run may hold a hundred thousand other names."""
    return re.compile("|".join(translate(pattern) for pattern in patterns) or "(?!)")


def _scan(directory: Path, wanted: re.Pattern[str], *, required: bool = False) -> Iterator[str]:
    """Yield the wanted names in a directory that may be state or lead to it.

    None if the directory is not there.
    """
    if directory.is_symlink() and not required:
        return
    try:
        with os.scandir(directory) as entries:
            for entry in islice(entries, MAX_SCANNED):
                if not wanted.match(entry.name) or _NOT_STATE.fullmatch(entry.name):
                    continue
                if _CHECKPOINT.fullmatch(entry.name) and entry.is_dir():
                    continue
                yield entry.name
    except OSError as error:
        if required:
            raise read_error(error, directory) from error
