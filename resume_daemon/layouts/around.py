"""What a layout may look at besides names and sizes, read from where a checkpoint lies."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from resume_daemon.errors import ResumeDaemonError
from resume_daemon.files import is_inside, open_regular, read_bounded
from resume_daemon.formats.registry import read
from resume_daemon.layouts.base import Around, Beside

if TYPE_CHECKING:
    from pathlib import Path

    from resume_daemon.formats.content import Content, Format
    from resume_daemon.listing import Listing

BESIDE_LIMIT = 64 * 1024
"""Bytes of a file that names the newest step, which holds one number or a small document."""


def around(listing: Listing, run: Path) -> Around:
    """Return the means to read a checkpoint's files, and small ones of the run directory.

    Args:
        listing: The checkpoint.
        run: The directory that it lies in; nothing outside of it is read.
    """

    def read_file(name: str, encoding: Format) -> Content:
        return read(listing.path(name), encoding)

    def beside(name: str) -> Beside | None:
        path = run / name
        try:
            if not is_inside(path, run):
                return None
            with open_regular(path) as fd:
                status = os.fstat(fd)
            if status.st_size > BESIDE_LIMIT:
                return Beside("", status.st_mtime_ns)
            text = read_bounded(path, BESIDE_LIMIT).decode(errors="replace")
            return Beside(text, status.st_mtime_ns)
        except ResumeDaemonError:
            return None

    return Around(read_file, beside)
