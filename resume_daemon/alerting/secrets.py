"""Secrets: where they come from, and a value that cannot be printed by accident."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from resume_daemon.errors import ResumeDaemonError, UsageError
from resume_daemon.files import read_bounded
from resume_daemon.logs import register_secret

if TYPE_CHECKING:
    from collections.abc import Mapping

_LIMIT = 64 * 1024


class Secret:
    """A text that shows as ``***`` wherever it is printed, formatted or logged."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the text itself; call this only where it is sent or used as a key."""
        return self._value

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__


def load_secret(
    *,
    credential: str | None = None,
    file: Path | None = None,
    variable: str | None = None,
    environment: Mapping[str, str] = os.environ,
) -> Secret | None:
    """Return a secret from the first named place that has it, or None where no place is named.

    The order is that of the arguments. Never the command line, which every user of the machine can
    read. The value is registered, so that no log line can show it either.

    Args:
        credential: Name of a file in ``$CREDENTIALS_DIRECTORY``, which systemd's
            ``LoadCredential=`` fills.
        file: A file that holds the secret and nothing else; links are followed, because
            Kubernetes mounts every secret as one.
        variable: Name of an environment variable.
        environment: The environment.

    Raises:
        UsageError: A place is named and has no usable secret. The place is told, never a value.
    """
    if credential is not None:
        if not credential or "/" in credential or credential in {".", ".."}:
            raise UsageError("read a secret", None, f"{credential!r} is no name of a credential")
        path = Path(environment.get("CREDENTIALS_DIRECTORY", ""), credential)
        if path.is_absolute() and path.exists():
            return _read(path)
    if file is not None:
        _warn_if_exposed(file)
        return _read(file)
    if variable is not None:
        place = f"from the environment variable {variable}"
        if (value := environment.get(variable)) is None:
            raise UsageError(f"read the secret {place}", None, "it is not set")
        return _secret(value, place)
    if credential is not None:
        raise UsageError(
            f"read the credential {credential!r}",
            None,
            "systemd has passed none of this name",
            hint=f"Put LoadCredential={credential}:/path/of/the/secret into the unit.",
        )
    return None


def _read(path: Path) -> Secret:
    place = f"in {path}"
    try:
        content = read_bounded(Path(os.path.realpath(path)), _LIMIT)
        return _secret(content.decode(), place)
    except UnicodeDecodeError:
        # Without a cause: the exception that explains this one holds the bytes.
        raise UsageError(f"read the secret {place}", None, "it is not UTF-8 text") from None
    except UsageError:
        raise
    except ResumeDaemonError as error:
        raise UsageError(
            "read the secret", path, error.reason, hint="Is the path right, and readable by us?"
        ) from error


def _secret(value: str, place: str) -> Secret:
    value = value.removesuffix("\n").removesuffix("\r")
    if not value:
        raise UsageError(f"read the secret {place}", None, "it is empty")
    if value != value.strip() or not value.isprintable():
        raise UsageError(
            f"read the secret {place}",
            None,
            "it has blanks around it, more than one line or characters that cannot be printed",
        )
    register_secret(value)
    return Secret(value)


def _warn_if_exposed(path: Path) -> None:
    try:
        mode = path.stat().st_mode
    except OSError:
        return  # Reading it fails next, and says why.
    if mode & stat.S_IROTH:
        structlog.get_logger().warning(
            "secret is readable by every user", path=str(path), hint=f"chmod o-r {path}"
        )
