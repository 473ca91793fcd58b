"""How the W&B server is reached: its address and the key, from where the W&B SDK takes them.

Nothing is ever asked of a person. Source: measured with wandb 0.28.0 and 0.31.0, whose default
server differs; ``sdk/wandb_settings.py`` and ``sdk/lib/wbauth`` for the places that are searched.
"""

from __future__ import annotations

import configparser
import netrc
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from resume_daemon.errors import ResumeDaemonError, UsageError
from resume_daemon.files import read_bounded

if TYPE_CHECKING:
    from collections.abc import Mapping

NEW_DEFAULT = "https://api.forge.coreweave.com"
"""The server of wandb 0.31.0 and later."""

OLD_DEFAULT = "https://api.wandb.ai"
"""The server of wandb up to 0.30.0; keys in netrc are often filed under it still."""

_NEW_FROM = (0, 31)
_MAX_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Access:
    """A server and the key for it; the key is in no ``repr``."""

    base_url: str
    key: str = field(repr=False)


def find_access(
    environ: Mapping[str, str], home: Path, wandb_version: str | None = None
) -> Access | None:
    """Return how to reach the server, or None where no key is found.

    The version is that of the wandb beside this program, which need not be the trainer's: where
    they differ, set ``WANDB_BASE_URL``.

    Args:
        environ: ``WANDB_BASE_URL``, ``WANDB_API_KEY``, ``WANDB_CONFIG_DIR`` and ``NETRC`` count.
        home: The home directory, for ``.config/wandb/settings`` and ``.netrc``.
        wandb_version: The wandb version, or None for the installed one.

    Raises:
        UsageError: The address is no http or https URL.
    """
    base_url = environ.get("WANDB_BASE_URL") or _base_url_of_settings(environ, home)
    base_url = (base_url or default_base_url(wandb_version)).rstrip("/")
    try:
        parts = urlsplit(base_url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname)
        # A malformed port shows itself only when it is asked for.
        _ = parts.port
    except ValueError:
        usable = False
    if not usable:
        raise UsageError(
            "reach the W&B server",
            None,
            "its base URL is no http or https address",
            hint="Correct WANDB_BASE_URL, or base_url in ~/.config/wandb/settings.",
        )
    key = environ.get("WANDB_API_KEY") or _key_of_netrc(environ, home, parts.hostname or "")
    return Access(base_url, key.strip()) if key and key.strip() else None


def default_base_url(wandb_version: str | None = None) -> str:
    """Return the server that a wandb version (default: the installed one) uses by itself."""
    try:
        version = metadata.version("wandb") if wandb_version is None else wandb_version
        numbers = tuple(int(part) for part in version.split(".")[:2])
    except (metadata.PackageNotFoundError, ValueError):
        return NEW_DEFAULT
    return NEW_DEFAULT if numbers >= _NEW_FROM else OLD_DEFAULT


def _base_url_of_settings(environ: Mapping[str, str], home: Path) -> str | None:
    directory = environ.get("WANDB_CONFIG_DIR")
    path = (Path(directory) if directory else home / ".config" / "wandb") / "settings"
    settings = configparser.ConfigParser(interpolation=None)
    try:
        settings.read_string(read_bounded(path.resolve(), _MAX_BYTES).decode())
    except (ResumeDaemonError, OSError, ValueError, configparser.Error):
        return None  # The SDK goes on without a settings file that it cannot read.
    return settings.get("default", "base_url", fallback=None)


def _key_of_netrc(environ: Mapping[str, str], home: Path, host: str) -> str | None:
    path = Path(environ.get("NETRC") or home / ".netrc")
    try:
        # netrc opens the path by itself, so what could block or fill memory is refused before.
        if not path.is_file() or path.stat().st_size > _MAX_BYTES:
            return None
        machines = netrc.netrc(path).hosts
    except (OSError, ValueError, netrc.NetrcParseError):
        return None  # The text of a parse error may hold a password.
    defaults = [urlsplit(url).hostname or "" for url in (NEW_DEFAULT, OLD_DEFAULT)]
    # A key for W&B's own service is never sent to a server that somebody else runs.
    for name in [host, *defaults] if host in defaults else [host]:
        if name in machines and (key := machines[name][2]):
            return key
    return None
