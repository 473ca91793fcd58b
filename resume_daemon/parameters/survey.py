"""Read every source of a run's parameters into one value: the shell around the pure parts."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from resume_daemon.errors import ResumeDaemonError, UsageError
from resume_daemon.layouts.registry import checkpoints_in
from resume_daemon.parameters.facts import CheckpointFacts, Facts, Unread
from resume_daemon.parameters.names import canonical
from resume_daemon.parameters.resolve import resolve
from resume_daemon.parameters.sources.checkpoint import read_checkpoint, read_model_configuration
from resume_daemon.parameters.sources.discovery import (
    SourceFiles,
    files_in_run,
    files_kept,
    kind_of,
    sort_by_kind,
)
from resume_daemon.parameters.sources.environment import read_environment
from resume_daemon.parameters.sources.every import READERS
from resume_daemon.parameters.values import Source, SourceKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from resume_daemon.parameters.values import Setting
    from resume_daemon.state_directory import StateDirectory

MAX_CHECKPOINTS: Final = 50
"""Checkpoints whose parameters are compared, the newest."""

_ENOUGH: Final = 2
"""Names of parameters that a file in the run's directory needs to be taken for a configuration."""


@dataclass(frozen=True, slots=True)
class Request:
    """What the user asks for.

    Attributes:
        checkpoint: Directory name, or None for the newest.
        named: Files that the user names; a kind of which none is named is looked for.
        most: Checkpoints whose parameters are compared, the newest.
    """

    checkpoint: str | None = None
    named: SourceFiles = field(default_factory=SourceFiles)
    most: int = MAX_CHECKPOINTS


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
        UsageError: The checkpoint that was asked for is not there.
        ResumeDaemonError: The run cannot be listed, or a file that was named cannot be read.
    """
    unread: list[Unread] = []
    checkpoints, chosen = _checkpoints(run, request, unread)
    past = list(chosen.settings) if chosen is not None else []
    kept = _kept(run, state, chosen)
    settings = [*_of_snapshot(kept, chosen, unread), *_of_base_model(past, unread), *past]
    known = {canonical(each.name) for each in past} | KNOWN
    files = _files(run, kept, request.named)
    for kind in READERS:
        named = bool(getattr(request.named, kind))
        for path in getattr(files, kind):
            found = _read(kind, path, run, unread, named=named)
            likely = {canonical(each.name) for each in found} & known
            if named or len(likely) >= _ENOUGH:
                settings += found
    wanted = known | {canonical(each.name) for each in settings}
    settings += read_environment(environ, wanted)
    return Facts(
        run=run,
        parameters=resolve(settings),
        settings=tuple(settings),
        checkpoint=chosen,
        checkpoints=checkpoints,
        unread=tuple(unread),
    )


def _checkpoints(
    run: Path, request: Request, unread: list[Unread]
) -> tuple[tuple[CheckpointFacts, ...], CheckpointFacts | None]:
    """Return the run's checkpoints, oldest first, and the one that is looked at."""
    names, asked = checkpoints_in(run), request.checkpoint
    if asked is not None and asked not in names:
        known = ", ".join(names[-5:]) or "none yet"
        raise UsageError("read the parameters of", asked, "there is none", hint=f"There: {known}.")
    looked_at = asked if asked is not None else next(reversed(names), None)
    found: list[CheckpointFacts] = []
    for name in names:
        if name != looked_at and name not in names[-request.most :]:
            continue
        try:
            facts, problems = read_checkpoint(
                Path(os.path.realpath(run / name)), shapes=name == looked_at
            )
        except ResumeDaemonError as error:
            if name == asked:
                raise
            unread.append(Unread(run / name, error.reason))
            continue
        found.append(facts)
        if name == looked_at:
            unread += problems
    return tuple(found), next((each for each in found if each.name == looked_at), None)


def _kept(
    run: Path, state: StateDirectory | None, chosen: CheckpointFacts | None
) -> list[tuple[str, Path, Path]]:
    if state is None or chosen is None:
        return []
    return files_kept(state.snapshots / chosen.name, run)


def _files(run: Path, kept: list[tuple[str, Path, Path]], named: SourceFiles) -> SourceFiles:
    """Return the files of each kind: those that were named, else those that were found."""
    now = [path for _, _, path in kept]
    found = sort_by_kind(dict.fromkeys([*files_in_run(run), *now]))
    return SourceFiles(
        **{kind: getattr(named, kind) or getattr(found, kind) for kind in SourceFiles.__slots__}
    )


def _of_snapshot(
    kept: list[tuple[str, Path, Path]], chosen: CheckpointFacts | None, unread: list[Unread]
) -> list[Setting]:
    """Return what the configuration was when the checkpoint was saved."""
    settings: list[Setting] = []
    for shown, copy, _ in kept:
        kind = kind_of(copy)
        if kind is None or chosen is None:
            continue
        label = f"snapshot of {chosen.name}: {shown}"
        source = Source(SourceKind.CHECKPOINT, copy, label)
        found = _read(kind, copy, copy.parent, unread, named=False)
        settings += [replace(each, source=source, span=None) for each in found]
    return settings


def _of_base_model(past: Iterable[Setting], unread: list[Unread]) -> list[Setting]:
    """Return the limits of the model that an adapter is for, where it lies on this machine."""
    name = next((s.value for s in past if s.name == "base_model_name_or_path"), None)
    if not isinstance(name, str) or not (path := Path(name) / "config.json").is_absolute():
        return []
    if not os.path.isfile(path):  # noqa: PTH113 - that of Path may raise.
        return []
    try:
        return read_model_configuration(Path(os.path.realpath(path)))
    except ResumeDaemonError as error:
        unread.append(Unread(path, error.reason))
        return []


def _read(kind: str, path: Path, run: Path, unread: list[Unread], *, named: bool) -> list[Setting]:
    label = str(path.relative_to(run)) if path.is_relative_to(run) else str(path)
    try:
        return READERS[kind](path, label)
    except ResumeDaemonError as error:
        if named:
            raise
        unread.append(Unread(path, error.reason))
        return []


KNOWN: Final = frozenset(
    {
        "beta",
        "bf16",
        "dataset_name",
        "gradient_accumulation_steps",
        "learning_rate",
        "lora_alpha",
        "lora_r",
        "loss_type",
        "lr_scheduler_type",
        "max_completion_length",
        "max_grad_norm",
        "max_prompt_length",
        "max_seq_length",
        "max_steps",
        "model_name_or_path",
        "num_generations",
        "num_train_epochs",
        "per_device_train_batch_size",
        "save_steps",
        "seed",
        "temperature",
        "top_p",
        "vllm_max_model_length",
        "warmup_ratio",
        "warmup_steps",
        "weight_decay",
    }
)
"""Parameters that are known without a checkpoint: by them a configuration file is recognised."""
