"""Which reader a source has, by its kind; what one file says is a list of settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from resume_daemon.parameters.sources.env_file import read_environment_file
from resume_daemon.parameters.sources.json_file import read_json_settings
from resume_daemon.parameters.sources.yaml_file import read_yaml_settings
from resume_daemon.parameters.values import Source, SourceKind

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from resume_daemon.parameters.values import Setting


def read_configuration(path: Path, label: str) -> list[Setting]:
    """Return what a YAML or JSON file says.

    Raises:
        ResumeDaemonError: It cannot be read, or is neither.
    """
    source = Source(SourceKind.CONFIGURATION, path, label)
    if path.suffix.lower() == ".json":
        return read_json_settings(path, source)
    return read_yaml_settings(path, source)


def read_environment_of(path: Path, label: str) -> list[Setting]:
    """Return what an environment file says.

    Raises:
        ResumeDaemonError: It cannot be read.
    """
    return read_environment_file(path, Source(SourceKind.ENVIRONMENT, path, label))


READERS: Final[Mapping[str, Callable[[Path, str], list[Setting]]]] = {
    "configurations": read_configuration,
    "environment_files": read_environment_of,
}
"""By the field of ``SourceFiles``, the weakest kind first."""
