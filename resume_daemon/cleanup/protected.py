"""What a clean-up never enters and never touches, by name. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from resume_daemon.layouts.registry import is_checkpoint_name, is_distinctive, layouts
from resume_daemon.state_directory import SIDECAR

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

CLOSED: Final = frozenset(
    {SIDECAR, ".git", ".hg", ".svn", "site-packages", "dist-packages", "node_modules"}
)
"""Directories that are somebody else's to keep: our own files, repositories, installed packages."""

ENVIRONMENT = "pyvenv.cfg"
"""The file that a virtual environment has."""

SEGMENT: Final = re.compile(r"(?P<offline>offline-)?run-\d{8}_\d{6}-.+")
"""Where one process of W&B logs: ``resume_daemon.trackers.wandb_local``."""

_CACHE: Final = ("artifacts", "obj", "md5")

_WEIGHTS: Final = re.compile(
    r".*\.(?:safetensors|pt|pth|ckpt|bin|distcp|npz|gguf|ot|msgpack|h5)|\.metadata|_METADATA|"
    r"_CHECKPOINT_METADATA|_SUCCESS"
)


def is_closed(path: Path) -> bool:
    """Return whether a directory is not entered: by its name a checkpoint, or of ``CLOSED``."""
    if path.name in CLOSED:
        return True
    # W&B's cache is sorted into directories such as "57", which some trainers call a checkpoint.
    return is_checkpoint_name(path.name) and path.parts[-4:-1] != _CACHE


def is_staging(name: str) -> bool:
    """Return whether a trainer gives such a name to a save that it has not published yet."""
    return any(each.is_staging(name) for each in layouts())


def holds_state(names: Iterable[str]) -> bool:
    """Return whether files of such names are weights or a saved state, or make an environment.

    A directory that holds them may be a checkpoint under a name that no layout gives.
    """
    return any(name == ENVIRONMENT or _WEIGHTS.fullmatch(name) for name in names)


def refused_root(root: Path, is_checkpoint: Callable[[Path], bool]) -> str | None:
    """Return why a directory is not cleaned up at all, or None.

    Args:
        root: Absolute, links resolved.
        is_checkpoint: Whether the files in a directory are those of a checkpoint; asked only where
            its name says so.
    """
    if root == root.parent:
        return "that is a whole file system"
    for place in (root, *root.parents):
        if place.name == SIDECAR:
            return "it holds this program's own records"
        if SEGMENT.fullmatch(place.name):
            return "it is a run of W&B"
        named = is_distinctive(place.name) or is_staging(place.name)
        if named and is_checkpoint(place):
            return "it is a checkpoint, or lies in one"
    return None


def may_be_overlooked(path: Path) -> bool:
    """Return whether a directory that is not entered may well be something else by its name."""
    return path.name not in CLOSED and not is_distinctive(path.name)
