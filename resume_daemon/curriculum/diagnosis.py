"""Everything that can be said of a run's curriculum now; nothing is changed."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resume_daemon.curriculum.checks import AHEAD_LIMIT, BEHIND_LIMIT
from resume_daemon.curriculum.code_search import Code, find_code, named_code, read_code
from resume_daemon.curriculum.documents import NotWholeError, parse_state
from resume_daemon.curriculum.inspect import Beside, read_states, state_findings
from resume_daemon.curriculum.module_checks import CodeReport, judge_code
from resume_daemon.curriculum.schemas import known_schemas
from resume_daemon.curriculum.stages import stages_of
from resume_daemon.curriculum.state import StateVersion
from resume_daemon.curriculum.traces import Traces, foreign, not_logged, rows_of, traces_of
from resume_daemon.curriculum.versions import VersionStore
from resume_daemon.errors import ResumeDaemonError, UsageError
from resume_daemon.findings import Severity
from resume_daemon.formats.json_document import read_json
from resume_daemon.layouts.huggingface import TRAINER_STATE
from resume_daemon.layouts.registry import checkpoints_in, step_of
from resume_daemon.trainer_log import trainer_log_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from resume_daemon.curriculum.schemas import Schema
    from resume_daemon.curriculum.state import StateRead
    from resume_daemon.findings import Finding
    from resume_daemon.state_directory import StateDirectory
    from resume_daemon.trainer_log import TrainerLog

MAX_VERSIONS = 400
"""Kept versions that are read, the newest first."""


@dataclass(frozen=True, slots=True)
class Look:
    """What is looked at, and by which rules.

    Attributes:
        schemas: Shapes of states that are known.
        patterns: Configured globs of state files.
        ahead_limit: Steps that a state may be ahead of its checkpoint.
        behind_limit: Steps that it may be behind.
        code: Files and directories with the user's code; none: what is found on its own.
        methods: Methods that a manager has to have; none: those that are known.
        working: The directory in which the command was started.
    """

    schemas: tuple[Schema, ...] = field(default_factory=known_schemas)
    patterns: tuple[str, ...] = ()
    ahead_limit: int = AHEAD_LIMIT
    behind_limit: int = BEHIND_LIMIT
    code: tuple[Path, ...] = ()
    methods: tuple[str, ...] = ()
    working: Path = field(default_factory=Path)


@dataclass(frozen=True, slots=True)
class At:
    """The checkpoint that the state should belong to, and what its trainer state logged.

    Attributes:
        name: Its directory's name.
        path: Where it is.
        step: Its step.
        rows: Step to what was logged there.
        log: The extent of that.
        traces: What of it is of the curriculum.
    """

    name: str
    path: Path
    step: int
    rows: Mapping[int, Mapping[str, Any]]
    log: TrainerLog | None
    traces: Traces


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What was found.

    Attributes:
        run: The run directory.
        checkpoint: The one that the states are compared with, or None where there is none.
        states: Each state file as it was read.
        earlier: Versions that are kept, oldest first.
        code: The user's code that was read.
        report: What that is.
        findings: What is wrong or worth knowing, the states' first.
        look: By which rules.
    """

    run: Path
    checkpoint: At | None
    states: tuple[StateRead, ...]
    earlier: tuple[StateVersion, ...]
    code: Code
    report: CodeReport
    findings: tuple[Finding, ...]
    look: Look

    @property
    def is_sound(self) -> bool:
        """Return whether nothing is wrong; what is only worth knowing does not count."""
        return all(finding.severity is Severity.INFO for finding in self.findings)

    def as_json(self) -> dict[str, Any]:
        """Return the shape that ``--json`` promises."""
        at = self.checkpoint
        return {
            "run": str(self.run),
            "checkpoint": None if at is None else {"name": at.name, "step": at.step},
            "states": [self._state_json(each) for each in self.states],
            "versions": len(self.earlier),
            "traces": list(at.traces.keys) if at is not None else [],
            "managers": [each.as_json() for each in self.report.managers],
            "callbacks": [each.as_json() for each in self.report.callbacks],
            "findings": [each.as_json() for each in self.findings],
        }

    def _state_json(self, read: StateRead) -> dict[str, Any]:
        version = read if isinstance(read, StateVersion) else None
        history = version.history if version else None
        stages = self.stages(version) if version else None
        return {
            "state": read.file,
            "readable": version is not None,
            "shape": version.schema if version else None,
            "stage": version.stage if version else None,
            "stage_count": stages,
            "step": version.step if version else None,
            "entries": history.count if history else None,
            "first_step": history.first_step if history else None,
            "last_step": history.last_step if history else None,
        }

    def stages(self, version: StateVersion) -> int | None:
        """Return how many stages a state defines, or None where it defines none."""
        if not version.valid_json:
            return None
        stages = stages_of(parse_state(version.file, version.content), self.schema_of(version))
        return None if stages is None else len(stages)

    def schema_of(self, version: StateVersion) -> Schema | None:
        """Return the schema that recognised a state."""
        return next((s for s in self.look.schemas if s.name == version.schema), None)


def diagnose(
    run: Path, state: StateDirectory | None, look: Look, checkpoint: str | None = None
) -> Diagnosis:
    """Look at a run's curriculum.

    Args:
        run: The run directory, with its links resolved.
        state: Where the daemon's files are, or None where none has watched.
        look: By which rules.
        checkpoint: Directory name of the checkpoint that the state should belong to; the newest
            one unless given.

    Raises:
        UsageError: There is no such checkpoint.
        ResumeDaemonError: The run cannot be listed.
    """
    at = _checkpoint(run, checkpoint)
    states = tuple(read_states(run, look.schemas, look.patterns))
    earlier = kept_versions(state, look.schemas)
    files = named_code(look.code) if look.code else find_code(run, look.working)
    code = read_code(files, beside=look.working)
    report = judge_code(code.modules, look.methods, asked_for=bool(look.code))
    beside = Beside(
        (at.name, at.step) if at else None,
        at.log if at else None,
        earlier,
        look.ahead_limit,
        look.behind_limit,
    )
    findings: list[Finding] = []
    for read in states:
        findings += state_findings(read, look.schemas, beside)
        other = _foreign(read, at, look)
        findings += [other] if other is not None else []
    if at is not None and (states or earlier) and (silent := not_logged(at.rows, at.traces)):
        findings.append(silent)
    findings += [*report.findings, *code.findings]
    return Diagnosis(run, at, states, earlier, code, report, tuple(findings), look)


def kept_versions(
    state: StateDirectory | None, schemas: tuple[Schema, ...]
) -> tuple[StateVersion, ...]:
    """Return the versions of state files that a daemon has kept, oldest first.

    Damaged ones are left out: there is nothing in them to compare with or to rebuild from.

    Raises:
        FormatError: The index of the versions is damaged.
    """
    if state is None:
        return ()
    store = VersionStore(state.curriculum)
    found: list[StateVersion] = []
    for record in store.records()[-MAX_VERSIONS:]:
        if record.backup:
            continue
        with suppress(ResumeDaemonError, NotWholeError):
            found.append(store.version(record, schemas))
    return tuple(found)


def _checkpoint(run: Path, wished: str | None) -> At | None:
    steps = {name: step_of(name) for name in checkpoints_in(run)}
    name = wished.rstrip("/").rpartition("/")[2] if wished is not None else None
    if name is not None and name not in steps:
        near = ", ".join(sorted(steps, key=lambda each: (len(each), each))[-5:])
        raise UsageError(
            "find the checkpoint",
            wished,
            "the run has none of that name",
            hint=f"There are: {near}." if near else "It has no checkpoint yet.",
        )
    known = {each: step for each, step in steps.items() if step is not None}
    chosen = name if name is not None else max(known, key=lambda each: known[each], default=None)
    if chosen is None:
        return None
    try:
        trainer_state = read_json(run / chosen / TRAINER_STATE)
    except ResumeDaemonError:
        trainer_state = None  # Its own finding says so (`verify`).
    step = known.get(chosen)
    if step is None:
        raise UsageError("compare with", wished, "its name says no step")
    rows = rows_of(trainer_state)
    return At(chosen, run / chosen, step, rows, trainer_log_of(trainer_state), traces_of(rows))


def _foreign(read: StateRead, at: At | None, look: Look) -> Finding | None:
    if at is None or not isinstance(read, StateVersion) or not read.valid_json:
        return None
    schema = next((s for s in look.schemas if s.name == read.schema), None)
    return foreign(read.file, parse_state(read.file, read.content), schema, at.rows)
