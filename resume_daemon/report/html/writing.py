"""Writing a report to a file: whole or not at all, and over nothing but a report."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from resume_daemon.errors import ResumeDaemonError, UsageError, VanishedError
from resume_daemon.files import open_regular, write_atomic
from resume_daemon.report.html.gather import gather
from resume_daemon.report.html.page import MARK, page

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from resume_daemon.report.html.facts import Theme
    from resume_daemon.state_directory import StateDirectory

_HEAD = 256
"""Bytes of a file in which the mark of a report stands."""


def write_report(
    file: Path, run: Path, state: StateDirectory | None, themes: Sequence[Theme] = ()
) -> None:
    """Write the report of a run; an older report in its place is replaced.

    Args:
        file: Where to.
        run: The run directory, links resolved.
        state: Its sidecar, or None where there is none.
        themes: What else was found out, for the beginning of the page.

    Raises:
        UsageError: There is something else at ``file``, or its directory is missing.
        ResumeDaemonError: The ledger cannot be read, or the file not be written.
    """
    check_target(file)
    write_page(file, page(gather(run, state), themes))


def check_target(file: Path, mark: str = MARK) -> None:
    """Make sure that nothing else than a report would be replaced.

    Args:
        file: Where it is to be written.
        mark: What a report of the kind has among its first bytes.

    Raises:
        UsageError: It would, or the directory is not there.
    """
    operation = "write the report"
    if not os.path.isdir(file.parent):  # noqa: PTH112 - that of Path may raise
        raise UsageError(operation, file, "its directory is not there", hint="Make it first.")
    try:
        with open_regular(file) as fd:
            head = os.read(fd, _HEAD)
    except VanishedError:
        return
    except (OSError, ResumeDaemonError) as error:
        reason = error.reason if isinstance(error, ResumeDaemonError) else str(error)
        raise UsageError(operation, file, reason, hint="Name another file.") from error
    if head and mark.encode() not in head:
        reason = "there is a file that is no report of resume-daemon"
        raise UsageError(operation, file, reason, hint="Name another file, or move that one away.")


def write_page(file: Path, content: str) -> None:
    """Write the page.

    Raises:
        ResumeDaemonError: It cannot be written.
    """
    try:
        write_atomic(file, content.encode("utf-8"))
    except OSError as error:
        reason = error.strerror or str(error)
        raise ResumeDaemonError("write the report", file, reason) from error
