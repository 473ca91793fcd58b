"""The small files of sound checkpoints, kept by the digest of their content, for a repair.

A snapshot is replaced when its checkpoint is judged anew, also when it is judged damaged; what is
kept here stays, and the manifest of the sound checkpoint says which content each file had. Files
that do not change from one checkpoint to the next are kept once.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Final

from blake3 import blake3

from resume_daemon.errors import FormatError, VanishedError
from resume_daemon.files import flush_directory, read_bounded, write_atomic
from resume_daemon.layouts.base import Role
from resume_daemon.listing import EntryKind

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from resume_daemon.layouts.base import Part
    from resume_daemon.listing import Listing

MOST_OF_A_FILE: Final = 48 * 1024 * 1024
"""Bytes of one file: the largest tokenizers (``tokenizer.json`` of Gemma) take 33 MB."""

MOST_OF_A_CHECKPOINT: Final = 96 * 1024 * 1024
"""Bytes of one checkpoint: a trainer state of a long run, and a large tokenizer."""

MOST_OF_A_RUN: Final = 512 * 1024 * 1024
"""Bytes that are kept of a run; what was not met for longest goes first."""

_LARGE: Final = frozenset({Role.WEIGHTS, Role.OPTIMIZER, Role.STATE, Role.DATA})
"""What changes at each step, and is large for any model that somebody wants to keep."""

_NAME: Final = re.compile(r"[0-9a-f]{64}")


def worth_keeping(listing: Listing, parts: Mapping[str, Part]) -> tuple[str, ...]:
    """Return which files of a checkpoint are kept: the smallest, as many as there is room for.

    Args:
        listing: The checkpoint's files.
        parts: What each of them is.
    """
    found: list[str] = []
    left = MOST_OF_A_CHECKPOINT
    for name, entry in sorted(listing.entries.items(), key=lambda item: (item[1].size, item[0])):
        fits = entry.kind is EntryKind.FILE and entry.size <= min(left, MOST_OF_A_FILE)
        if fits and parts[name].role not in _LARGE:
            found.append(name)
            left -= entry.size
    return tuple(found)


class SmallFiles:
    """``<sidecar>/small_files/``: one file per content, named by its digest.

    One writer at a time: the lock of the run guards it.

    Args:
        directory: Where they are.
        most: Bytes that all of them together may take.
    """

    def __init__(self, directory: Path, most: int = MOST_OF_A_RUN) -> None:
        self._directory = directory
        self._most = most

    def add(self, content: bytes) -> str:
        """Keep a content and return its digest; one that is there is only marked as met again.

        Raises:
            OSError: It cannot be written.
        """
        digest = blake3(content).hexdigest()
        path = self._directory / digest
        try:
            whole = path.stat().st_size == len(content)
        except FileNotFoundError:
            whole = False
        if whole:
            os.utime(path)
        else:
            self._directory.mkdir(parents=True, exist_ok=True)
            write_atomic(path, content)
        return digest

    def get(self, digest: str) -> bytes:
        """Return a content, verified by its digest.

        Raises:
            VanishedError: It is not kept.
            FormatError: It is damaged.
            ResumeDaemonError: It cannot be read.
        """
        if not _NAME.fullmatch(digest):
            raise VanishedError("read the kept file", digest, "there is no such digest")
        path = self._directory / digest
        content = read_bounded(path, MOST_OF_A_FILE)
        if blake3(content).hexdigest() != digest:
            raise FormatError("read the kept file", path, "its content has another digest")
        return content

    def prune(self) -> int:
        """Remove what was not met for longest, beyond the bound; return how many contents went.

        Raises:
            OSError: They cannot be listed or removed.
        """
        kept = sorted(self._kept(), reverse=True)
        total, gone = 0, 0
        for _, size, name in kept:
            total += size
            if total > self._most:
                (self._directory / name).unlink(missing_ok=True)
                gone += 1
        if gone:
            flush_directory(self._directory)
        return gone

    def _kept(self) -> Iterator[tuple[int, int, str]]:
        """Yield when each content was met last (nanoseconds), its size and its name."""
        if not self._directory.is_dir():
            return
        with os.scandir(self._directory) as entries:
            for entry in entries:
                if _NAME.fullmatch(entry.name):
                    status = entry.stat()
                    yield status.st_mtime_ns, status.st_size, entry.name
