"""What fsspec opens: an object store, a server, ..., by its URL."""

from __future__ import annotations

import posixpath
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import fsspec

from resume_daemon.backup.pieces import PIECE, SourceFile
from resume_daemon.backup.sent import How, Sent
from resume_daemon.errors import (
    BeyondBoundsError,
    ChangedError,
    ResumeDaemonError,
    UsageError,
    VanishedError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resume_daemon.backup.pace import Pace

_PACKAGES = {"s3": "pip install 'resume-daemon[s3]'", "s3a": "pip install 'resume-daemon[s3]'"}

_OPTIONS: dict[str, dict[str, Any]] = {
    "s3": {
        # Every wait has an end; what is asked for again is what failed on the way.
        "config_kwargs": {
            "connect_timeout": 10,
            "read_timeout": 60,
            "retries": {"max_attempts": 5, "mode": "standard"},
        },
    },
}
_OPTIONS["s3a"] = _OPTIONS["s3"]


def open_url(url: str, folder: str) -> UrlDestination:
    """Return a run's directory at a URL.

    Raises:
        UsageError: The protocol is not known, or its package is not installed.
    """
    protocol = url.partition("://")[0]
    try:
        filesystem, path = fsspec.url_to_fs(
            url,
            # What another process wrote has to be seen.
            use_listings_cache=False,
            skip_instance_cache=True,
            **_OPTIONS.get(protocol, {}),
        )
    except ImportError as error:
        hint = _PACKAGES.get(protocol, "Install the package that fsspec names.")
        raise UsageError(
            "use the backup destination",
            url,
            f"{protocol}:// needs a package ({error})",
            hint=f"{hint}",
        ) from error
    except ValueError as error:
        raise UsageError("use the backup destination", url, str(error).rstrip(".")) from error
    if protocol in {"s3", "s3a"}:
        from resume_daemon.backup.destinations.s3 import S3Destination  # noqa: PLC0415 - it builds on this module

        return S3Destination(filesystem, url, posixpath.join(path, folder).rstrip("/"))
    return UrlDestination(filesystem, url, posixpath.join(path, folder).rstrip("/"))


class UrlDestination:
    """A run's directory on a file system of fsspec.

    Args:
        filesystem: The file system.
        label: The URL that the user gave.
        folder: The run's directory, as the file system names it.
    """

    def __init__(self, filesystem: Any, label: str, folder: str) -> None:
        self.label = label
        self.filesystem = filesystem
        self.folder = folder

    def names(self) -> list[str]:
        """Return what is there."""
        with self.told("list", ""):
            self.filesystem.invalidate_cache()
            try:
                found = self.filesystem.ls(self.folder, detail=False)
            except FileNotFoundError:
                return []
            return sorted(posixpath.basename(path.rstrip("/")) for path in found)

    def size_of(self, name: str) -> int | None:
        """Return the bytes of a file."""
        with self.told("look at", name):
            try:
                found = self.filesystem.info(self.path(name))
            except FileNotFoundError:
                return None
            return int(found["size"]) if found["type"] == "file" else None

    def send(self, source: SourceFile, name: str) -> Sent:
        """Copy a file; it appears when all of it is there."""
        with self.told("write", name):
            self.make_folder(posixpath.dirname(self.path(name)))
            file = self.filesystem.open(self.path(name), "wb", autocommit=False)
            try:
                for content in source.pieces():
                    file.write(content)
                file.close()
                file.commit()
            except BaseException:
                # The interruption is what is told, not that its traces could not be removed.
                with suppress(Exception):
                    file.discard()
                raise
        return Sent(How.COPY, source.file.size)

    def pieces(self, name: str, size: int, pace: Pace) -> Iterator[bytes]:
        """Yield a file's bytes."""
        for begin in range(0, size, PIECE):
            end = min(begin + PIECE, size)
            pace.take(end - begin)
            with self.told("read", name):
                try:
                    content: bytes = self.filesystem.cat_file(self.path(name), start=begin, end=end)
                except FileNotFoundError as error:
                    raise VanishedError("read", self.shown(name), "it is not there") from error
            if len(content) != end - begin:
                raise ChangedError("read", self.shown(name), f"it ends before byte {end}")
            yield content

    def read(self, name: str, limit: int) -> bytes:
        """Return a small file."""
        size = self.size_of(name)
        if size is None:
            raise VanishedError("read", self.shown(name), "it is not there")
        if size > limit:
            raise BeyondBoundsError(
                "read", self.shown(name), f"it has {size} bytes, more than {limit} are not read"
            )
        with self.told("read", name):
            content: bytes = self.filesystem.cat_file(self.path(name))
        return content

    def write(self, name: str, content: bytes) -> None:
        """Write a small file; a store shows it when all of it is there."""
        with self.told("write", name):
            self.make_folder(self.folder)
            self.filesystem.pipe_file(self.path(name), content)

    def remove(self, name: str) -> None:
        """Remove a file."""
        with self.told("remove", name), suppress(FileNotFoundError):
            self.filesystem.rm_file(self.path(name))

    def remove_folder(self, name: str) -> None:
        """Remove a directory."""
        with self.told("remove", name), suppress(FileNotFoundError):
            self.filesystem.rm(self.path(name), recursive=True)

    def make_folder(self, path: str) -> None:
        """Make a directory, where the file system has any."""
        self.filesystem.makedirs(path, exist_ok=True)

    def path(self, name: str) -> str:
        """Return the name that the file system has for a name."""
        return posixpath.join(self.folder, name)

    def shown(self, name: str) -> str:
        """Return what people read of a name."""
        return posixpath.join(self.label, posixpath.basename(self.folder), name)

    @contextmanager
    def told(self, operation: str, name: str) -> Iterator[None]:
        """Turn what a protocol's package raises into what a person can use."""
        try:
            yield
        except ResumeDaemonError:
            raise
        except FileNotFoundError as error:
            reason = f"there is no such place ({error})"
            raise ResumeDaemonError(operation, self.shown(name), reason) from error
        except NotImplementedError as error:
            reason = "what it names can be read, and not written to"
            raise ResumeDaemonError(operation, self.shown(name), reason) from error
        except Exception as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            hint = ""
            if isinstance(error, PermissionError) or "redential" in reason:
                hint = (
                    "Credentials come from the environment or the files that the protocol's own "
                    "tools use, such as AWS_PROFILE or ~/.aws/credentials."
                )
            raise ResumeDaemonError(operation, self.shown(name), reason, hint=hint) from error
