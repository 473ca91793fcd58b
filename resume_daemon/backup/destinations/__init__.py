"""Where backups can be kept, one file each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from resume_daemon.backup.destinations.directory import DirectoryDestination

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resume_daemon.backup.address import Address
    from resume_daemon.backup.pace import Pace
    from resume_daemon.backup.pieces import SourceFile
    from resume_daemon.backup.sent import Sent


class Destination(Protocol):
    """One directory at the destination, which holds the backups of one run.

    Names are relative to it, with ``/`` between the parts. A file that is there is there whole:
    each appears by a rename, or as an object store shows an object. All that fails raises a
    ``ResumeDaemonError``, ``FullError`` where there is no room.
    """

    label: str
    """What people read, without secrets."""

    def names(self) -> list[str]:
        """Return the names of all files and directories directly in it; empty where it is not."""
        ...

    def size_of(self, name: str) -> int | None:
        """Return the bytes of a file, or None where it is not there."""
        ...

    def send(self, source: SourceFile, name: str) -> Sent:
        """Copy a file of a checkpoint, going on with what an interruption left."""
        ...

    def pieces(self, name: str, size: int, pace: Pace) -> Iterator[bytes]:
        """Yield the bytes of a file, of which there should be ``size``, as they are there."""
        ...

    def read(self, name: str, limit: int) -> bytes:
        """Return a small file; ``VanishedError`` where it is not there."""
        ...

    def write(self, name: str, content: bytes) -> None:
        """Write a small file, at once or not at all."""
        ...

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        ...

    def remove_folder(self, name: str) -> None:
        """Remove a directory, all that is in it, and what was half sent into it."""
        ...


def open_destination(address: Address, folder: str, *, hard_links: bool = False) -> Destination:
    """Return a run's directory at a destination; nothing is made or asked yet.

    Args:
        address: The destination.
        folder: The run's directory there.
        hard_links: Whether a file may be linked where it cannot be cloned.

    Raises:
        UsageError: The destination is of a kind that is not known, or lacks a package.
    """
    if address.path is not None:
        return DirectoryDestination(address.path, folder, hard_links=hard_links)
    from resume_daemon.backup.destinations.url import open_url  # noqa: PLC0415 - fsspec and its protocols are heavy

    return open_url(str(address.url), folder)
