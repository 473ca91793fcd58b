"""Read a verified checkpoint again and compare it with its manifest: is it still what it was?

What the kernel has in memory is read from there, so only what is no longer cached shows what the
disk gives back; days after a save that is nearly everything.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from resume_daemon.checks.integrity import SILENT_CHANGE
from resume_daemon.errors import CancelledError, ChangedError, ResumeDaemonError
from resume_daemon.files import open_regular
from resume_daemon.layouts.registry import list_checkpoint
from resume_daemon.manifest import file_of, range_of
from resume_daemon.reading.ranges import RangeReader
from resume_daemon.reading.results import ScanTask

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from resume_daemon.findings import Finding
    from resume_daemon.manifest import Manifest, ManifestFile
    from resume_daemon.reading.scan import ReadOptions


@dataclass(frozen=True, slots=True)
class Scrub:
    """How far a checkpoint was read again.

    Attributes:
        done: How many of the manifest's resources are as they were, from the first one on.
        whole: Whether these are all.
        decayed: The first one that is not; the rest is not read, so that nobody waits to hear it.
        stopped: Why it ended early otherwise.
        bytes_read: In this stretch.
        seconds: Wall-clock time that this stretch took.
    """

    done: int
    whole: bool = False
    decayed: Finding | None = None
    stopped: ResumeDaemonError | None = None
    bytes_read: int = 0
    seconds: float = 0.0


def scrub(
    path: Path,
    *,
    boundary: Path,
    manifest: Manifest,
    begin: int,
    reading: ReadOptions,
    cancelled: Callable[[], bool],
) -> Scrub:
    """Compare a checkpoint with its manifest, one resource (at most 256 MiB) after another.

    It raises nothing that a read can end with: how far it came is worth keeping then as well.

    Args:
        path: The checkpoint.
        boundary: The run directory.
        manifest: What it was.
        begin: How many resources an earlier stretch has compared.
        reading: How it is read; always by one thread.
        cancelled: Asked often; True ends the work.
    """
    started = time.monotonic()
    done, bytes_read = begin, 0
    decayed: Finding | None = None
    stopped: ResumeDaemonError | None = None
    try:
        listing = list_checkpoint(path, boundary=boundary)
        if listing.fingerprint() != manifest.fingerprint:
            raise ChangedError("scrub", path, "it changed since it was verified")
        files = {file.name: file for file in manifest.files}
        reader = RangeReader(
            reading.read_bytes,
            keep_page_cache=reading.keep_page_cache,
            throttle=reading.throttle(),
            cancelled=cancelled,
            progress=lambda _: None,
        )
        for resource in manifest.resources[begin:]:
            if cancelled():
                raise CancelledError("scrub", path, "the work was stopped")
            file = files[file_of(resource.name)]
            first, end = range_of(resource.name, file.size)
            digest = _digest(listing.path(file.name), file, first, end, reader)
            bytes_read += end - first
            if digest != resource.digest:
                whole = (first, end) == (0, file.size)
                where = "it" if whole else f"bytes {first} to {end}"
                message = f"{file.name}: {where} changed in silence"
                decayed = SILENT_CHANGE.finding(message, file=file.name)
                break
            done += 1
    except ResumeDaemonError as error:
        stopped = error
    return Scrub(
        done=done,
        whole=done == len(manifest.resources),
        decayed=decayed,
        stopped=stopped,
        bytes_read=bytes_read,
        seconds=time.monotonic() - started,
    )


def _digest(path: Path, file: ManifestFile, begin: int, end: int, reader: RangeReader) -> str:
    """Return the digest of a range, of a file that is as it was before and after the read."""
    with open_regular(path) as fd:
        _check_untouched(fd, path, file)
        digest = reader.scan(fd, ScanTask(path), begin, end).digest
        _check_untouched(fd, path, file)
    return digest


def _check_untouched(fd: int, path: Path, file: ManifestFile) -> None:
    status = os.fstat(fd)
    if (status.st_size, status.st_mtime_ns, status.st_ino) != (
        file.size,
        file.mtime_ns,
        file.inode,
    ):
        raise ChangedError("scrub", path, "it was written to since it was verified")
