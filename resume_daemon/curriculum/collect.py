"""The small files of a checkpoint, and the user's configuration, for a snapshot."""

from __future__ import annotations

import glob
import os
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from resume_daemon.errors import FormatError, ResumeDaemonError
from resume_daemon.files import is_inside, read_bounded
from resume_daemon.listing import EntryKind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from resume_daemon.listing import Listing

CHECKPOINT_FILES = (
    "trainer_state.json",
    "config.json",
    "generation_config.json",
    "adapter_config.json",
    "*/adapter_config.json",
    "training_args.bin",
    "args.json",
)
"""Names as transformers and PEFT give them (``*/`` for several adapters), and ms-swift's."""

CONFIGURATION = "configuration/"
CONFIGURATION_LIMIT = 16 * 1024 * 1024
"""Bytes of one configuration file."""
MAX_CONFIGURATION_FILES = 64


@dataclass(frozen=True, slots=True)
class Collected:
    """Files for a snapshot, by their name in it; ``left_out`` says what was not taken, and why."""

    contents: Mapping[str, bytes]
    left_out: Mapping[str, str]


def collect(listing: Listing, run: Path, configuration: Sequence[str] = ()) -> Collected:
    """Read what a snapshot keeps of a checkpoint besides the curriculum.

    Args:
        listing: The checkpoint's directory.
        run: The run directory.
        configuration: Glob patterns of the user's configuration files, absolute or in the run;
            ``**`` is not recursive.

    Raises:
        VanishedError: A listed file of the checkpoint is gone: it is being rotated.
        ResumeDaemonError: A file of the checkpoint cannot be read. One of the configuration is
            left out instead.
    """
    contents: dict[str, bytes] = {}
    left_out: dict[str, str] = {}
    for name, entry in sorted(listing.entries.items()):
        # fnmatch lets a star match slashes too, so the depth is compared as well.
        if not any(
            fnmatchcase(name, p) and name.count("/") == p.count("/") for p in CHECKPOINT_FILES
        ):
            continue
        if entry.kind is not EntryKind.FILE:
            left_out[name] = "it is no regular file, or a link that leaves the run"
            continue
        try:
            contents[name] = read_bounded(listing.path(name))
        except FormatError as error:
            left_out[name] = error.reason
    for path in _configuration_files(run, configuration):
        inside = path.is_relative_to(run)
        shown = path.relative_to(run) if inside else path.relative_to(path.anchor)
        name = f"{CONFIGURATION}{shown}"
        if inside and not is_inside(path, run):
            left_out[name] = "it is a link that leaves the run"
            continue
        try:
            contents[name] = read_bounded(Path(os.path.realpath(path)), CONFIGURATION_LIMIT)
        except ResumeDaemonError as error:
            left_out[name] = error.reason
    return Collected(contents, left_out)


def _configuration_files(run: Path, patterns: Sequence[str]) -> list[Path]:
    found: dict[Path, None] = {}
    for pattern in patterns:
        matches = glob.iglob(pattern, root_dir=run)  # noqa: PTH207 - Path.glob takes no absolute patterns
        for match in islice(matches, MAX_CONFIGURATION_FILES):
            path = Path(os.path.normpath(run / match))
            if not path.is_dir():
                found[path] = None
    return sorted(found)[:MAX_CONFIGURATION_FILES]
