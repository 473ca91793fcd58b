"""Where backups go, as a person writes it down: a path, or a URL without a secret in it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from blake3 import blake3

from resume_daemon.errors import UsageError
from resume_daemon.layouts.registry import is_checkpoint_name

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*(::[A-Za-z][A-Za-z0-9+.-]*)*://")
_BUCKETS = {"s3", "s3a", "gs", "gcs"}
"""Schemes in which a bucket's name comes first, and nobody's name before it."""

_SECRET = re.compile(r"key|secret|token|password|passwd|signature|credential", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Address:
    """A destination; exactly one of its two parts is given.

    Attributes:
        path: A directory of this machine, absolute.
        url: What fsspec opens, such as ``s3://bucket/prefix``, without a slash at its end.
    """

    path: Path | None = None
    url: str | None = None

    def __str__(self) -> str:
        return str(self.path) if self.path is not None else str(self.url)


def parse_address(text: str, base: Path | None = None) -> Address:
    """Return what a text means.

    Args:
        text: A path, of which ``~`` is expanded, or a URL.
        base: Where a relative path starts; None for the working directory.

    Raises:
        UsageError: It is neither, or a URL that carries a password or a key.
    """
    operation = "use the backup destination"
    if not text.strip() or "\0" in text or "\n" in text:
        raise UsageError(operation, None, "it is neither a path nor a URL")
    if _SCHEME.match(text) is None:
        try:
            path = Path(text).expanduser()
        except RuntimeError as error:
            reason = "it names a home directory that is not known here"
            raise UsageError(operation, text, reason) from error
        return Address(path=Path(os.path.abspath((base or Path.cwd()) / path)))  # noqa: PTH100 - resolve() would follow links, which may point elsewhere later
    try:
        parts = urlsplit(text)
    except ValueError as error:
        raise UsageError(operation, None, "it is not a URL") from error
    hidden = [name for name, _ in parse_qsl(parts.query) if _SECRET.search(name)]
    if parts.password is not None or hidden or (parts.username and parts.scheme in _BUCKETS):
        # What was given is not repeated: it would be in every log.
        raise UsageError(
            operation,
            f"{parts.scheme}://...",
            "the URL carries a password or a key",
            hint="Leave it out: credentials come from the environment or the files that the "
            "protocol's own tools use, such as AWS_PROFILE or ~/.aws/credentials.",
        )
    if not text.partition("://")[2].strip("/") or (parts.scheme in _BUCKETS and not parts.netloc):
        raise UsageError(operation, text, "the URL names no place")
    if parts.scheme == "memory":
        raise UsageError(operation, text, "what is kept there is gone when this program ends")
    if parts.scheme == "file":
        return Address(path=Path(os.path.abspath(unquote(parts.path))))  # noqa: PTH100 - as above
    return Address(url=text.rstrip("/"))


def check_apart(address: Address, run: Path) -> None:
    """Raise unless backups there survive what the trainer removes.

    Args:
        address: The destination.
        run: The run directory, with its links resolved.

    Raises:
        UsageError: It is the run itself, or lies in one of its checkpoints.
    """
    if address.path is None:
        return
    real = Path(os.path.realpath(address.path))
    reason = ""
    if real == run:
        reason = "it is the run itself"
    elif real.is_relative_to(run) and is_checkpoint_name(real.relative_to(run).parts[0]):
        reason = "it lies in a checkpoint, which the trainer may remove"
    if reason:
        hint = "Give a directory beside the run, or better on another disk."
        raise UsageError("use the backup destination", address.path, reason, hint=hint)


def folder_of(run: Path) -> str:
    """Return the name of a run's directory at a destination that many runs share.

    Two runs may both be called ``output``, and neither may drop what the other keeps.
    """
    real = os.path.realpath(run)
    name = re.sub(r"[^A-Za-z0-9._-]", "_", os.path.basename(real)) or "run"  # noqa: PTH119 - the path is a str here
    return f"{name}-{blake3(os.fsencode(real)).hexdigest()[:8]}"
