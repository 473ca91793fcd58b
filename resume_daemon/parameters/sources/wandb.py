"""What a run's processes told W&B that they train with, out of its local files."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from resume_daemon.errors import ResumeDaemonError
from resume_daemon.parameters.facts import SegmentFacts, Unread
from resume_daemon.parameters.names import KNOWN, canonical
from resume_daemon.parameters.sources.text import read_text
from resume_daemon.parameters.sources.yaml_file import read_yaml_settings
from resume_daemon.parameters.values import Setting, Source, SourceKind
from resume_daemon.trackers.wandb_config import read_logged_configuration
from resume_daemon.trackers.wandb_discovery import (
    candidate_segments,
    find_wandb_directories,
    segment_run_id,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

MAX_SEGMENTS: Final = 20
"""Segments whose configuration is read, the newest."""

_SCALAR: Final = (str, int, float, bool, type(None))
_REQUIREMENT: Final = re.compile(r"([A-Za-z0-9][\w.-]*)==([\w.+!-]+)")


def read_segments(
    run: Path, since_ns: int, run_ids: Collection[str], environ: Mapping[str, str]
) -> tuple[list[SegmentFacts], list[Unread]]:
    """Return what each process of a run told W&B, oldest first, and what could not be read.

    A directory of W&B may be shared by runs. A segment is this run's where the ledger knows its id,
    where its own ``output_dir`` is the run, or, where it names none, where it lies inside of it.

    Args:
        run: The run directory, with its links resolved.
        since_ns: When the run began, at the latest, in nanoseconds since the epoch.
        run_ids: W&B's ids of the run, as far as the ledger knows them.
        environ: The environment, which may name W&B's directory.
    """
    found: list[SegmentFacts] = []
    unread: list[Unread] = []
    paths = [
        (path, directory.path.is_relative_to(run))
        for directory in find_wandb_directories(run, None, environ)
        for path in candidate_segments(directory, run, since_ns)
    ]
    for path, inside in sorted(paths, key=lambda each: _started(each[0]))[-MAX_SEGMENTS:]:
        run_id = segment_run_id(path)
        try:
            segment = _segment(path, run_id)
        except ResumeDaemonError as error:
            unread.append(Unread(path, error.reason))
            continue
        named = _output_directory(segment)
        if run_id in run_ids or (inside if named is None else _is_run(named, run, path)):
            found.append(segment)
    return found, unread


def _segment(path: Path, run_id: str | None) -> SegmentFacts:
    log = next((each for each in sorted(path.glob("run-*.wandb"))), None)
    label = f"W&B run {run_id or path.name}"
    settings: list[Setting] = []
    if log is not None:
        logged = read_logged_configuration(Path(os.path.realpath(log)))
        source = Source(SourceKind.TRACKER, log, label)
        settings = list(_plain(logged, source))
    # Written by W&B at the end, or for a run that was synchronised.
    file = path / "files" / "config.yaml"
    if not settings and file.is_file():
        source = Source(SourceKind.TRACKER, file, label)
        settings = [
            Setting(each.scope, each.value, source, line=each.line)
            for each in read_yaml_settings(file, source)
            if each.name == "value" and each.scope and not each.scope.startswith("_")
        ]
    return SegmentFacts(path.name, run_id, tuple(settings), _versions(path))


def _plain(values: Mapping[str, Any], source: Source, scope: str = "") -> Iterator[Setting]:
    for name, value in values.items():
        # What begins with an underscore is W&B's own, but for the model's name.
        if name.startswith("_") and name != "_name_or_path":
            continue
        inner = list(value.values()) if isinstance(value, dict) else value
        each = inner if isinstance(inner, list) else [inner]
        if all(isinstance(one, _SCALAR) for one in each):
            yield Setting(name, value, source, scope=scope)
        if isinstance(value, dict) and not scope and {canonical(key) for key in value} & KNOWN:
            yield from _plain(value, source, name)


def _versions(segment: Path) -> dict[str, str]:
    try:
        text = read_text(segment / "files" / "requirements.txt", "read the packages of")
    except ResumeDaemonError:
        return {}  # Offline runs of some releases have none.
    return {m[1].lower(): m[2] for line in text.splitlines() if (m := _REQUIREMENT.fullmatch(line))}


def _output_directory(segment: SegmentFacts) -> str | None:
    found = (s.value for s in segment.settings if s.name == "output_dir" and not s.scope)
    return next((value for value in found if isinstance(value, str) and value), None)


def _is_run(named: str, run: Path, segment: Path) -> bool:
    """Return whether an output directory, as the trainer was given it, is the run."""
    if os.path.isabs(named):  # noqa: PTH117 - a text of somebody else's
        return os.path.realpath(named) == str(run)
    # Relative to where the trainer was started, which mostly is where W&B's directory lies.
    parts = Path(os.path.normpath(named)).parts
    return run.parts[-len(parts) :] == parts or os.path.realpath(
        segment.parent.parent / named
    ) == str(run)


def _started(segment: Path) -> str:
    """Return the part of a segment's name that says when it started."""
    return segment.name.removeprefix("offline-").removeprefix("run-")
