"""What can be said of a run's curriculum by looking once, without a daemon's memory."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from resume_daemon.curriculum.assignment import Known, assign
from resume_daemon.curriculum.checks import (
    AHEAD_LIMIT,
    BEHIND_LIMIT,
    assignment_notes,
    history_damaged,
    history_lost,
    unreadable,
)
from resume_daemon.curriculum.discovery import discover
from resume_daemon.curriculum.documents import parse_state
from resume_daemon.curriculum.schemas import known_schemas
from resume_daemon.curriculum.stages import fields_missing, stage_findings
from resume_daemon.curriculum.state import StateVersion, read_state
from resume_daemon.errors import ResumeDaemonError
from resume_daemon.formats.json_document import read_json
from resume_daemon.layouts.huggingface import TRAINER_STATE
from resume_daemon.layouts.registry import step_of
from resume_daemon.trainer_log import trainer_log_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from resume_daemon.curriculum.schemas import Schema
    from resume_daemon.curriculum.state import StateRead
    from resume_daemon.findings import Finding
    from resume_daemon.trainer_log import TrainerLog


@dataclass(frozen=True, slots=True)
class Beside:
    """What a state is judged against.

    Attributes:
        newest: Name and step of the checkpoint that it should belong to.
        trainer: What that checkpoint's trainer state logged.
        earlier: Versions from before that are kept, of any file.
        ahead_limit: Steps that it may be ahead.
        behind_limit: Steps that it may be behind.
    """

    newest: tuple[str, int] | None = None
    trainer: TrainerLog | None = None
    earlier: tuple[StateVersion, ...] = ()
    ahead_limit: int = AHEAD_LIMIT
    behind_limit: int = BEHIND_LIMIT


def inspect_checkpoints(run: Path, checkpoints: Sequence[Path]) -> tuple[Finding, ...]:
    """Return what is wrong with the state files of a run, held against its newest checkpoint.

    Args:
        run: The run directory.
        checkpoints: Paths of its checkpoints.

    Raises:
        ResumeDaemonError: The run cannot be listed.
    """
    steps = ((step, path) for path in checkpoints if (step := step_of(path.name)))
    newest = max(steps, default=None)
    trainer = None
    if newest is not None:
        try:
            trainer = trainer_log_of(read_json(newest[1] / TRAINER_STATE))
        except ResumeDaemonError:
            trainer = None  # Its own finding says so.
    name = (newest[1].name, newest[0]) if newest is not None else None
    return inspect_run(Path(os.path.realpath(run)), newest=name, trainer=trainer)


def inspect_run(
    run: Path,
    *,
    newest: tuple[str, int] | None,
    trainer: TrainerLog | None,
    schemas: Sequence[Schema] | None = None,
    patterns: Sequence[str] = (),
) -> tuple[Finding, ...]:
    """Return what is wrong with, or worth knowing of, the state files of a run.

    Args:
        run: The run directory.
        newest: Name and step of the newest checkpoint.
        trainer: What that checkpoint's trainer state logged.
        schemas: By which states are recognised; the shipped ones by default.
        patterns: Configured globs of state files.

    Raises:
        ResumeDaemonError: The run cannot be listed.
    """
    known = tuple(schemas) if schemas is not None else tuple(known_schemas())
    beside = Beside(newest, trainer)
    return tuple(
        finding
        for read in read_states(run, known, patterns)
        for finding in state_findings(read, known, beside)
    )


def read_states(
    run: Path, schemas: Sequence[Schema], patterns: Sequence[str] = ()
) -> list[StateRead]:
    """Read every state file of a run.

    Raises:
        ResumeDaemonError: The run cannot be listed.
    """
    files = discover(run, schemas, patterns).files
    return [read_state(run / file, run=run, schemas=schemas) for file in files]


def state_findings(
    read: StateRead, schemas: Sequence[Schema], beside: Beside = Beside()
) -> tuple[Finding, ...]:
    """Return what is wrong with, or worth knowing of, one state file. Pure.

    Args:
        read: The file as it was read; one that is missing has no finding.
        schemas: Those that are known.
        beside: What it is judged against.
    """
    if not isinstance(read, StateVersion):
        note = unreadable(read, 0.0, limit=0.0)
        return (note.finding,) if note is not None else ()
    schema = next((s for s in schemas if s.name == read.schema), None)
    trainer = beside.trainer
    notes = [
        history_lost(
            read,
            earlier=[each for each in beside.earlier if each.file == read.file],
            first_logged=trainer.first_step if trainer else None,
            cadence=trainer.cadence if trainer else 1,
            window=schema.history_window if schema else None,
        ),
        history_damaged(read),
    ]
    if beside.newest is not None:
        name, step = beside.newest
        version = Known(read.digest, read.trainer_step, read.mtime_ns, read.file, read.stage)
        assigned = assign(step, [version], checkpoint=name)
        if assigned is not None:
            notes.append(
                assignment_notes(
                    assigned,
                    name,
                    ahead_limit=beside.ahead_limit,
                    behind_limit=beside.behind_limit,
                    save_every=schema.save_every if schema else None,
                )
            )
    return (
        *(note.finding for note in notes if note is not None),
        *_shape_findings(read, schema, schemas),
    )


def _shape_findings(
    read: StateVersion, schema: Schema | None, schemas: Sequence[Schema]
) -> list[Finding]:
    if not read.valid_json:
        return []
    document = parse_state(read.file, read.content)
    findings = list(stage_findings(read.file, document, schema, read.stage))
    if schema is None or not schema.required:
        missing = fields_missing(read.file, document, schemas)
        findings += [missing] if missing is not None else []
    return findings
