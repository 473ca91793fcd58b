"""Damaged files of W&B's artifact cache: their name is the digest of what they should hold.

Source: wandb 0.28 to 0.31 ``sdk/artifacts/artifact_file_cache.py``: ``<cache>/artifacts/obj/md5/
<2>/<30>`` after the MD5 of the content, ``obj/etag/`` and ``obj/xxh128/`` after other things, and
``artifacts/tmp`` for what is being written. A hit is told by name and size alone, so a damaged file
of the right size is used. Others than MD5 are not judged here.
"""

from __future__ import annotations

import hashlib
import os
import re
from typing import TYPE_CHECKING

from resume_daemon.cleanup.values import EntryKind
from resume_daemon.errors import ResumeDaemonError
from resume_daemon.files import open_regular

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from resume_daemon.cleanup.values import Entry, Identity, Tree

MAX_BYTES = 64 << 30
"""Bytes that are read in one clean-up; what is beyond is not judged."""

_OBJECT = re.compile(r"artifacts/obj/md5/([0-9a-f]{2})/([0-9a-f]{30})")
_TEMPORARY = re.compile(r"artifacts/tmp/tmp[^/]+")
_REST = 30
_PIECE = 1 << 20


def named_digest(tree: Tree, entry: Entry) -> str | None:
    """Return the MD5 that a file of the cache should have; None where it is none, or not told."""
    # Few names are as long: the others of a hundred thousand samples need no second look.
    if len(entry.parts[-1]) != _REST:
        return None
    match = _OBJECT.fullmatch("/".join(tree.path(entry).parts[-5:]))
    return None if match is None else match[1] + match[2]


def is_partial(tree: Tree, entry: Entry) -> bool:
    """Return whether it is a file that the cache was writing."""
    if not entry.parts[-1].startswith("tmp"):
        return False
    return _TEMPORARY.fullmatch("/".join(tree.path(entry).parts[-3:])) is not None


def damaged_objects(
    trees: Iterable[Tree], *, limit: int = MAX_BYTES
) -> tuple[frozenset[Identity], int]:
    """Read the cache's files; return those that are damaged, and how many were not judged.

    Args:
        trees: What was found.
        limit: Bytes to read at most.
    """
    found: set[Identity] = set()
    missed = 0
    for tree in trees:
        for entry in tree.entries:
            if entry.kind is not EntryKind.FILE:
                continue
            if (digest := named_digest(tree, entry)) is None:
                continue
            if entry.identity.size > limit:
                missed += 1
                continue
            limit -= entry.identity.size
            if (damaged := _is_damaged(tree.path(entry), entry, digest)) is None:
                missed += 1
            elif damaged:
                found.add(entry.identity)
    return frozenset(found), missed


def _is_damaged(path: Path, entry: Entry, digest: str) -> bool | None:
    """Return whether the content is another than the name says; None where it cannot be told."""
    actual = hashlib.md5(usedforsecurity=False)
    left = entry.identity.size
    try:
        with open_regular(path) as fd:
            status = os.fstat(fd)
            if (status.st_dev, status.st_ino) != (entry.identity.device, entry.identity.inode):
                return None
            while left > 0 and (piece := os.read(fd, min(left, _PIECE))):
                actual.update(piece)
                left -= len(piece)
    except (OSError, ResumeDaemonError):
        return None
    # A file that is shorter now is being written to.
    return None if left else actual.hexdigest() != digest
