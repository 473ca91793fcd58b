"""Replacing a directory so that one whole copy exists at every moment."""

from __future__ import annotations

import os
import re
import secrets
import shutil
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from resume_daemon.files import flush_directory, write_all

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_TEMPORARY = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{8}\.(?P<role>new|old)")


def directory_parts(name: str, *, most: int = 16) -> tuple[str, ...]:
    """Return the parts of a relative path that stays below the directory it is joined to.

    Raises:
        ValueError: It is absolute, empty, has ``..`` or NUL, or more than ``most`` parts.
    """
    parts = PurePosixPath(name).parts
    if (
        not parts
        or name.startswith("/")
        or ".." in parts
        or "\0" in name
        or len(parts) > most
        or (most == 1 and name.startswith("."))
    ):
        raise ValueError(f"{name!r} is no name of a file in a snapshot")
    return parts


def begin_swap(parent: Path, name: str) -> Path:
    """Return a new empty directory beside ``parent/name``, to be filled and flushed."""
    parent.mkdir(parents=True, exist_ok=True)
    new = parent / f".{name}.{secrets.token_hex(4)}.new"
    new.mkdir()
    return new


def finish_swap(new: Path, target: Path) -> None:
    """Put a filled and flushed directory in the place of ``target``.

    The old one steps aside first, because a rename does not replace a directory that has content;
    between the two renames only ``settle_swaps`` can tell what to do.
    """
    old = new.with_suffix(".old")
    if target.exists():
        target.rename(old)
    new.rename(target)
    flush_directory(target.parent)
    if old.exists():
        shutil.rmtree(old)


def settle_swaps(parent: Path, is_whole: Callable[[Path], bool]) -> list[str]:
    """Finish or roll back every interrupted swap below ``parent``; return what was done.

    Where the target is gone, the new copy takes its place if it is whole, else the old one comes
    back. A copy is removed only once the target is there. An old copy that is not whole is put back
    all the same: it is the best that there is, and reading it will say what is wrong.
    """
    if not parent.is_dir():
        return []
    done: list[str] = []
    left: dict[str, dict[str, list[Path]]] = {}
    for path in sorted(parent.iterdir()):
        if match := _TEMPORARY.fullmatch(path.name):
            roles = left.setdefault(match["name"], {"new": [], "old": []})
            roles[match["role"]].append(path)
    for name, roles in left.items():
        target = parent / name
        if not target.exists():
            chosen = next((path for path in (*roles["new"], *roles["old"]) if is_whole(path)), None)
            chosen = chosen or next(iter(roles["old"]), None)
            if chosen is not None:
                chosen.rename(target)
                flush_directory(parent)
                how = "finished" if chosen in roles["new"] else "rolled back"
                done.append(f"{how} the interrupted replacement of {name}")
        for path in (*roles["new"], *roles["old"]):
            if path.exists():
                shutil.rmtree(path)
                done.append(f"removed {path.name}, left by an interruption")
    return done


def write_flushed(path: Path, content: bytes) -> None:
    """Write a new file, creating its folders, and flush it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    try:
        write_all(fd, content)
        os.fsync(fd)
    finally:
        os.close(fd)
