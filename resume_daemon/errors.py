"""What can go wrong, told to a tired person: what was attempted, on which path, what to do next."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class ResumeDaemonError(Exception):
    """The root of every error that this program raises on purpose.

    Attributes:
        operation: What was attempted, as a verb phrase ("read the configuration").
        path: What it was attempted on, or None.
        reason: Why it failed.
        hint: What to do next, or an empty string.
    """

    def __init__(
        self, operation: str, path: Path | str | None, reason: str, *, hint: str = ""
    ) -> None:
        self.operation = operation
        self.path = path
        self.reason = reason
        self.hint = hint
        where = f" {path}" if path is not None else ""
        tail = f" {hint}" if hint else ""
        super().__init__(f"Cannot {operation}{where}: {reason}.{tail}")


class UsageError(ResumeDaemonError):
    """The command or its configuration is wrong; commands end with exit status 2."""


class FormatError(ResumeDaemonError):
    """A file is not what its format promises.

    Raised by ``resume_daemon.formats`` alone. ``reason`` is shown in a finding as it is.
    """


class BeyondBoundsError(FormatError):
    """A file is larger than is read of its kind, which says nothing of whether it is damaged."""


class CutShortError(FormatError):
    """A file has no end: it was cut off, or it is still being written."""


class VanishedError(ResumeDaemonError):
    """A file went away while we looked: the trainer rotates, which is never an error of its own."""


class ChangedError(ResumeDaemonError):
    """A file changed while we read it: what was read belongs to no one moment, so look again."""


class CancelledError(ResumeDaemonError):
    """The daemon is stopping; what was being read is read again after the next start."""


class LedgerError(ResumeDaemonError):
    """The ledger could not be written or does not hold together."""
