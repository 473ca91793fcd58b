"""A bar that shows how far a long reading is."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from resume_daemon.cli.output import console

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_QUIET_SECONDS = 2.0
"""How long nothing is shown: most readings are over by then."""


@contextmanager
def progress(name: str, total_bytes: int, *, show: bool) -> Iterator[Callable[[int], None]]:
    """Yield a function that is told of bytes read; the bar is on stderr, if that is a terminal."""
    if not show or not sys.stderr.isatty():
        yield lambda _: None
        return
    from threading import Timer  # noqa: PLC0415 - only on a terminal

    from rich.progress import (  # noqa: PLC0415 - only on a terminal
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TransferSpeedColumn,
    )

    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeElapsedColumn(),
        console=console(stderr=True),
        transient=True,
    )
    task = bar.add_task(name, total=total_bytes)
    start = Timer(_QUIET_SECONDS, bar.start)
    start.daemon = True
    start.start()
    try:
        yield lambda read: bar.advance(task, read)
    finally:
        start.cancel()
        start.join()
        bar.stop()
