"""What sending one file came to."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from resume_daemon.errors import ResumeDaemonError


class How(StrEnum):
    """How a file came to the destination."""

    REFLINK = "reflink"
    """It shares its blocks with the checkpoint's until one of them is written to."""
    HARD_LINK = "hard link"
    """It is the checkpoint's file under another name."""
    COPY = "copy"


@dataclass(frozen=True, slots=True)
class Sent:
    """How a file came there, and the bytes that had to be sent for it."""

    how: How
    size: int


class FullError(ResumeDaemonError):
    """There is no room at the destination."""
