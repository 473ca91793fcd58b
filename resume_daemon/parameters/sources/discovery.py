"""Which files say what a run is started with, where nobody names them.

Two places show it: the run's directory, into which many scripts copy their configuration, and the
daemon's snapshots, which keep the files that its setting ``configuration_files`` names. The
directory above the run is not searched: what lies there may belong to any other run.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from resume_daemon.curriculum.collect import CONFIGURATION
from resume_daemon.errors import ResumeDaemonError
from resume_daemon.files import read_error

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_FILES: Final = 32
"""Files of one kind that are taken."""

_SCRIPTS: Final = {".sh", ".bash", ".zsh", ".slurm", ".sbatch"}
_CONFIGURATIONS: Final = {".yaml", ".yml", ".json"}
_ENDINGS: Final = (*_SCRIPTS, *_CONFIGURATIONS, ".env", ".py")
_OF_THE_MODEL: Final = {
    "adapter_config.json",
    "added_tokens.json",
    "all_results.json",
    "chat_template.json",
    "config.json",
    "eval_results.json",
    "generation_config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "train_results.json",
    "trainer_state.json",
    "vocab.json",
}
"""What ``save_pretrained`` and the Trainer leave in an output directory."""


@dataclass(frozen=True, slots=True)
class SourceFiles:
    """Files that say what a start is given, each kind in the order in which it counts.

    Attributes:
        scripts: Shell scripts that start the training.
        configurations: YAML and JSON.
        environment_files: Files of ``NAME=value`` lines.
        code: Python files, or directories of them.
    """

    scripts: tuple[Path, ...] = ()
    configurations: tuple[Path, ...] = ()
    environment_files: tuple[Path, ...] = ()
    code: tuple[Path, ...] = ()


def sort_by_kind(paths: Iterable[Path]) -> SourceFiles:
    """Return files by what their names say that they are; others are left out."""
    kinds: dict[str, list[Path]] = {name: [] for name in SourceFiles.__slots__}
    for path in paths:
        if (kind := kind_of(path)) is not None and len(kinds[kind]) < MAX_FILES:
            kinds[kind].append(path)
    return SourceFiles(**{name: tuple(found) for name, found in kinds.items()})


def kind_of(path: Path) -> str | None:
    """Return the field of ``SourceFiles`` that a file belongs to, by its name; else None."""
    name, suffix = path.name.lower(), path.suffix.lower()
    if suffix in _SCRIPTS:
        return "scripts"
    if suffix == ".env" or name == ".env" or name.startswith(".env."):
        return "environment_files"
    if suffix in _CONFIGURATIONS:
        return "configurations"
    return "code" if suffix == ".py" else None


def files_in_run(run: Path) -> list[Path]:
    """Return the files of the run's own directory that may say what it is started with, by name.

    Raises:
        ResumeDaemonError: The directory cannot be listed.
    """
    try:
        with os.scandir(run) as entries:
            named = [entry.name for entry in entries if _may_say(entry.name)]
    except OSError as error:
        raise read_error(error, run) from error
    return [
        run / name
        for name in sorted(named)
        if name not in _OF_THE_MODEL
        and not name.endswith(".index.json")
        and "state" not in name
        and os.path.isfile(run / name)  # noqa: PTH113 - that of Path may raise.
    ]


def _may_say(name: str) -> bool:
    """Return whether a name has a kind; of a hundred thousand samples most are told at once."""
    known = name.lower()
    return known.endswith(_ENDINGS) or (
        known.startswith(".env") and kind_of(Path(name)) is not None
    )


def files_kept(snapshot: Path, run: Path) -> list[tuple[str, Path, Path]]:
    """Return the configuration files of a snapshot: shown name, kept copy, and where it is now.

    Args:
        snapshot: ``snapshots/<checkpoint>``, which need not be there.
        run: The run directory.
    """
    from resume_daemon.curriculum.snapshot import read_snapshot  # noqa: PLC0415 - rarely needed

    try:
        names = read_snapshot(snapshot).index.files
    except ResumeDaemonError:
        return []
    found = []
    for name in sorted(names):
        if name.startswith(CONFIGURATION):
            shown = name.removeprefix(CONFIGURATION)
            # What lay outside of the run is kept by its path from the root.
            inside = run / shown
            found.append((shown, snapshot / name, inside if inside.exists() else Path("/", shown)))
    return found
