"""What a directory is, without its contents: what a move expects to find."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Final

from blake3 import blake3

from resume_daemon.errors import ResumeDaemonError
from resume_daemon.files import read_error
from resume_daemon.listing import MAX_ENTRIES

if TYPE_CHECKING:
    from pathlib import Path

_OPERATION: Final = "list"


def listing_digest(path: Path) -> str:
    """Return BLAKE3 over names, sizes, modification times and kinds, as 64 hex digits.

    Links are not followed: they are moved as they are.

    Args:
        path: A directory, or a file, which then is the only entry.

    Raises:
        VanishedError: It is not there.
        ResumeDaemonError: Something cannot be listed, or there is too much.
    """
    lines: list[bytes] = []
    pending = [(path, b"")]
    try:
        while pending:
            place, name = pending.pop()
            status = os.lstat(place)
            kind = stat.S_IFMT(status.st_mode)
            size = 0 if stat.S_ISDIR(kind) else status.st_size
            lines.append(b"%s\0%d\0%d\0%d\n" % (name, kind, size, status.st_mtime_ns))
            if len(lines) > MAX_ENTRIES:
                raise ResumeDaemonError(
                    _OPERATION, path, f"it holds more than {MAX_ENTRIES} files", hint="Is it a run?"
                )
            if stat.S_ISDIR(kind):
                with os.scandir(place) as entries:
                    pending += [
                        (place / e.name, name + b"/" + os.fsencode(e.name)) for e in entries
                    ]
    except OSError as error:
        raise read_error(error, path) from error
    return blake3(b"".join(sorted(lines))).hexdigest()
