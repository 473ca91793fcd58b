"""How a page that is made from the code is printed, or brought up to date in the repository."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from resume_daemon.files import write_atomic

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def print_or_write(path: Path, page: str, arguments: Sequence[str]) -> None:
    """Print a page; with ``--write`` write it into the repository that is the working directory."""
    if "--write" in arguments:
        write_atomic(path, page.encode())
    else:
        sys.stdout.write(page)
