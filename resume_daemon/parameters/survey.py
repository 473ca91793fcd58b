"""Read every source of a run's parameters into one value: the shell around the pure parts."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from resume_daemon.errors import ResumeDaemonError, UsageError
from resume_daemon.layouts.registry import checkpoints_in
from resume_daemon.ledger.queries import fold
from resume_daemon.ledger.reader import read_records
from resume_daemon.parameters.facts import CheckpointFacts, Facts, Unread
from resume_daemon.parameters.names import KNOWN, canonical
from resume_daemon.parameters.next_start import given_to_next_start
from resume_daemon.parameters.post_init import outcome_of
from resume_daemon.parameters.resolve import resolve, with_computed
from resume_daemon.parameters.secrets import without_secrets
from resume_daemon.parameters.sources.checkpoint import read_checkpoint, read_model_configuration
from resume_daemon.parameters.sources.discovery import (
    SourceFiles,
    files_in_run,
    files_kept,
    kind_of,
    sort_by_kind,
)
from resume_daemon.parameters.sources.every import read_file
from resume_daemon.parameters.sources.packages import versions_of
from resume_daemon.parameters.sources.wandb import read_segments
from resume_daemon.parameters.values import Source, SourceKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from resume_daemon.parameters.values import Setting
    from resume_daemon.state_directory import StateDirectory

MAX_CHECKPOINTS: Final = 50
"""Checkpoints whose parameters are compared, the newest."""


@dataclass(frozen=True, slots=True)
class Request:
    """What the user asks for.

    Attributes:
        checkpoint: Directory name, or None for the newest.
        named: Files that the user names; a kind of which none is named is looked for.
        python: The trainer's interpreter, whose packages are looked up; None where nobody says.
        most: Checkpoints whose parameters are compared, the newest.
        names: The run's checkpoints by step, where they are known already.
    """

    checkpoint: str | None = None
    named: SourceFiles = field(default_factory=SourceFiles)
    python: Path | None = None
    most: int = MAX_CHECKPOINTS
    names: tuple[str, ...] | None = None


def survey(
    run: Path, state: StateDirectory | None, request: Request, environ: Mapping[str, str]
) -> Facts:
    """Return all that is known of a run's parameters; nothing is changed, run or imported.

    Args:
        run: The run directory, with its links resolved.
        state: Where the daemon's files are, or None where none has watched.
        request: What the user asks for.
        environ: The environment that the next start would inherit.

    Raises:
        UsageError: The checkpoint or the interpreter that was named is not there.
        ResumeDaemonError: The run cannot be listed, or a file that was named cannot be read.
    """
    unread: list[Unread] = []
    checkpoints, chosen = _checkpoints(run, request, unread)
    past = list(chosen.settings) if chosen is not None else []
    kept = _Kept.of(run, state, chosen)
    known = {canonical(each.name) for each in past} | KNOWN
    given = given_to_next_start(kept.now_in(run), request.named, run, environ, known)
    unread += given.unread
    segments, problems = read_segments(run, _began(run, checkpoints), _run_ids(state), environ)
    unread += problems
    tracked = [setting for segment in segments for setting in segment.settings]
    settings = [
        *tracked,
        *kept.settings(environ, unread),
        *_of_base_model([*tracked, *past], unread),
        *past,
    ]
    settings = list(without_secrets([*settings, *given.settings]))
    parameters = resolve(settings, frozenset() if chosen is None else chosen.restored)
    computed, refusals = outcome_of(given.families, parameters)
    return Facts(
        run=run,
        parameters=with_computed(parameters, computed),
        settings=tuple(settings),
        checkpoint=chosen,
        checkpoints=checkpoints,
        segments=tuple(segments),
        launcher={each.name: each for each in given.launcher},
        processes=given.processes,
        versions=versions_of(request.python, environ),
        refusals=tuple(refusals),
        unread=tuple(unread),
    )


def _checkpoints(
    run: Path, request: Request, unread: list[Unread]
) -> tuple[tuple[CheckpointFacts, ...], CheckpointFacts | None]:
    """Return the run's checkpoints, oldest first, and the one that is looked at."""
    asked = request.checkpoint
    names = checkpoints_in(run) if request.names is None else request.names
    if asked is not None and asked not in names:
        known = ", ".join(names[-5:]) or "none yet"
        raise UsageError("read the parameters of", asked, "there is none", hint=f"There: {known}.")
    looked_at = asked if asked is not None else next(reversed(names), None)
    found: list[CheckpointFacts] = []
    for name in names:
        if name != looked_at and name not in names[-request.most :]:
            continue
        path = Path(os.path.realpath(run / name))
        try:
            facts, problems = read_checkpoint(path, shapes=name == looked_at)
        except ResumeDaemonError as error:
            if name == asked:
                raise
            unread.append(Unread(run / name, error.reason))
            continue
        found.append(facts)
        if name == looked_at:
            unread += problems
    return tuple(found), next((each for each in found if each.name == looked_at), None)


def _began(run: Path, checkpoints: Iterable[CheckpointFacts]) -> int:
    """Return when the run had begun at the latest, in nanoseconds since the epoch."""
    times = []
    for path in (run, *(each.path for each in checkpoints)):
        with suppress(OSError):
            times.append(path.stat().st_mtime_ns)
    return min(times, default=0)


def _run_ids(state: StateDirectory | None) -> frozenset[str]:
    """Return the tracker's run ids that the daemon has seen."""
    if state is None or not state.ledger.exists():
        return frozenset()
    with suppress(ResumeDaemonError):
        pairs = fold(read_records(state.ledger)).pair_in_segment.values()
        return frozenset(pair.run_id for pair in pairs if pair.run_id)
    return frozenset()  # A damaged ledger has findings of its own.


@dataclass(frozen=True, slots=True)
class _Kept:
    """The configuration that the daemon kept with a checkpoint."""

    checkpoint: str
    files: tuple[tuple[str, Path, Path], ...] = ()
    """Shown name, kept copy, and where it is now."""

    @classmethod
    def of(cls, run: Path, state: StateDirectory | None, chosen: CheckpointFacts | None) -> _Kept:
        if state is None or chosen is None:
            return cls("")
        return cls(chosen.name, tuple(files_kept(state.snapshots / chosen.name, run)))

    def now_in(self, run: Path) -> SourceFiles:
        """Return the files of the run, and those kept, where they are now."""
        now = (path for _, _, path in self.files)
        return sort_by_kind(dict.fromkeys([*files_in_run(run), *now]))

    def settings(self, environ: Mapping[str, str], unread: list[Unread]) -> list[Setting]:
        """Return what the configuration was when the checkpoint was saved."""
        found: list[Setting] = []
        for shown, copy, _ in self.files:
            if (kind := kind_of(copy)) is None:
                continue
            label = f"snapshot of {self.checkpoint}: {shown}"
            source = Source(SourceKind.CHECKPOINT, copy, label)
            try:
                read = read_file(kind, copy, label, environ, KNOWN)
            except ResumeDaemonError as error:
                unread.append(Unread(copy, error.reason))
                continue
            found += [replace(each, source=source, span=None) for each in read]
        return found


def _of_base_model(past: list[Setting], unread: list[Unread]) -> list[Setting]:
    """Return the limits of the model that an adapter is for, where it lies on this machine."""
    names = {"base_model_name_or_path", "model_name_or_path", "_name_or_path"}
    name = next((s.value for s in reversed(past) if s.name in names), None)
    if not isinstance(name, str) or not (path := Path(name) / "config.json").is_absolute():
        return []
    if not os.path.isfile(path):  # noqa: PTH113 - that of Path may raise.
        return []
    try:
        return read_model_configuration(Path(os.path.realpath(path)))
    except ResumeDaemonError as error:
        unread.append(Unread(path, error.reason))
        return []
