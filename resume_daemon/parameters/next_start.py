"""What the next start is given: scripts, configurations, code and the environment, put together."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from resume_daemon.errors import ResumeDaemonError
from resume_daemon.parameters.facts import Unread
from resume_daemon.parameters.names import canonical
from resume_daemon.parameters.processes import processes_of
from resume_daemon.parameters.sources.discovery import SourceFiles
from resume_daemon.parameters.sources.environment import read_environment
from resume_daemon.parameters.sources.every import read_file
from resume_daemon.parameters.sources.launch import Launch, read_launch_script
from resume_daemon.parameters.sources.launch_files import files_of, launcher_configuration
from resume_daemon.parameters.sources.python_code import read_code
from resume_daemon.parameters.values import Setting, SourceKind

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from resume_daemon.parameters.sources.python_code import Family

ENOUGH: Final = 2
"""Known parameters that a file needs to name, to be taken for a configuration nobody named."""


@dataclass(slots=True)
class NextStart:
    """What the next start is given.

    Attributes:
        settings: In the order in which they count, later ones of a kind before earlier ones.
        launcher: What the launcher is given.
        families: Classes of the user's code.
        processes: How many there will be, or None.
        unread: What could not be read or understood.
    """

    settings: list[Setting] = field(default_factory=list)
    launcher: list[Setting] = field(default_factory=list)
    families: tuple[Family, ...] = ()
    processes: int | None = None
    unread: list[Unread] = field(default_factory=list)


def given_to_next_start(
    found: SourceFiles,
    named: SourceFiles,
    run: Path,
    environ: Mapping[str, str],
    known: Collection[str],
) -> NextStart:
    """Return what the next start is given.

    Args:
        found: Files that were found in the run and its snapshots.
        named: Files that the user names; they stand for all that were found of their kind.
        run: The run directory.
        environ: The environment that the next start would inherit.
        known: Names of parameters, as ``names.canonical`` gives them.

    Raises:
        ResumeDaemonError: A file that the user names cannot be read.
    """
    return _Gathering(run, environ, known).all_of(found, named)


class _Gathering:
    def __init__(self, run: Path, environ: Mapping[str, str], known: Collection[str]) -> None:
        self._run = run
        self._environ = environ
        self._known = frozenset(known)
        self._result = NextStart()

    def all_of(self, found: SourceFiles, named: SourceFiles) -> NextStart:
        result = self._result
        scripted: list[Setting] = []
        for path in named.scripts or found.scripts:
            launch, files = self._script(path, asked=bool(named.scripts))
            scripted += launch.settings
            # What a script names is nearer to it than what merely lies in the run.
            found = _preferring(files, found)
        code = read_code(named.code or found.code, self._environ, asked=bool(named.code))
        result.families = code.families
        result.unread += code.unread
        settings = list(code.settings)
        for kind in ("configurations", "environment_files"):
            asked = getattr(named, kind)
            for path in asked or getattr(found, kind):
                settings += self._file(kind, path, asked=bool(asked))
        settings += scripted
        wanted = self._known | {
            canonical(each.name)
            for each in settings
            if each.source.kind is not SourceKind.ENVIRONMENT
        }
        # What a script exports goes over what it inherits, so that comes first.
        inherited = list(read_environment(self._environ, wanted))
        result.settings = [
            each
            for each in (*inherited, *settings)
            if each.source.kind is not SourceKind.ENVIRONMENT or canonical(each.name) in wanted
        ]
        return result

    def _script(self, path: Path, *, asked: bool) -> tuple[Launch, SourceFiles]:
        result = self._result
        try:
            launch = read_launch_script(path, self._label(path), self._environ, self._known)
        except ResumeDaemonError as error:
            if asked:
                raise
            result.unread.append(Unread(path, error.reason))
            return Launch(), SourceFiles()
        if not asked and not self._is_enough(launch.settings):
            return Launch(), SourceFiles()
        result.unread += [Unread(path, note) for note in launch.notes]
        if launch.program:
            launcher = {each.name: each for each in launch.launcher}
            configured = launcher_configuration(launch, path, Path.cwd())
            if configured is not None:
                below = self._file("configurations", configured, asked=False, launcher=True)
                launcher = {each.name: each for each in below if not each.scope} | launcher
            result.launcher = list(launcher.values())
            result.processes = processes_of(launch.launcher_name, launcher)
        return launch, files_of(launch, path, Path.cwd())

    def _file(self, kind: str, path: Path, *, asked: bool, launcher: bool = False) -> list[Setting]:
        try:
            found = read_file(kind, path, self._label(path), self._environ, self._known)
        except ResumeDaemonError as error:
            if asked:
                raise
            self._result.unread.append(Unread(path, error.reason))
            return []
        return found if asked or launcher or self._is_enough(found) else []

    def _is_enough(self, settings: Collection[Setting]) -> bool:
        return len({canonical(each.name) for each in settings} & self._known) >= ENOUGH

    def _label(self, path: Path) -> str:
        return str(path.relative_to(self._run)) if path.is_relative_to(self._run) else str(path)


def _preferring(files: SourceFiles, found: SourceFiles) -> SourceFiles:
    kinds = (each.name for each in dataclasses.fields(SourceFiles))
    return SourceFiles(**{kind: getattr(files, kind) or getattr(found, kind) for kind in kinds})
