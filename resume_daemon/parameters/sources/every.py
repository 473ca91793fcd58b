"""Which reader a source has, by its kind; what one file says is a list of settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resume_daemon.parameters.sources.env_file import read_environment_file
from resume_daemon.parameters.sources.json_file import read_json_settings
from resume_daemon.parameters.sources.launch import read_launch_script
from resume_daemon.parameters.sources.python_code import read_code
from resume_daemon.parameters.sources.yaml_file import read_yaml_settings
from resume_daemon.parameters.values import Source, SourceKind

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from resume_daemon.parameters.values import Setting


def read_file(
    kind: str, path: Path, label: str, environ: Mapping[str, str], known: Collection[str]
) -> list[Setting]:
    """Return what one file says.

    Args:
        kind: The field of ``SourceFiles`` that it belongs to.
        path: Where it is.
        label: How it is called to a person.
        environ: The environment that a script would inherit.
        known: Names of parameters, as ``names.canonical`` gives them.

    Raises:
        ResumeDaemonError: It cannot be read, or is not what its kind promises.
    """
    match kind:
        case "scripts":
            return list(read_launch_script(path, label, environ, known).settings)
        case "environment_files":
            return read_environment_file(path, Source(SourceKind.ENVIRONMENT, path, label))
        case "code":
            return list(read_code([path], environ).settings)
        case _ if path.suffix.lower() == ".json":
            return read_json_settings(path, Source(SourceKind.CONFIGURATION, path, label))
        case _:
            return read_yaml_settings(path, Source(SourceKind.CONFIGURATION, path, label))
