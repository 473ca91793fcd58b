"""What is done about each curriculum state file of a run, and why: the rules."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from blake3 import blake3

from resume_daemon import catalog
from resume_daemon.curriculum.assignment import Known, assign
from resume_daemon.curriculum.codes import HISTORY_LOST
from resume_daemon.curriculum.documents import parse_state
from resume_daemon.curriculum.fresh import (
    FoundStages,
    encoded,
    fresh_state,
    shipped_stages,
    stages_in_code,
)
from resume_daemon.curriculum.inspect import Beside, state_findings
from resume_daemon.curriculum.proposal import Action, Proposal
from resume_daemon.curriculum.rebuild import KeptHistory, Rows, rebuild
from resume_daemon.curriculum.restore import plan_restore
from resume_daemon.curriculum.snapshot import (
    CURRICULUM,
    Snapshot,
    list_snapshots,
    read_snapshot,
)
from resume_daemon.curriculum.stages import stage_fault, stages_of
from resume_daemon.curriculum.state import STATE_LIMIT, StateVersion, interpret
from resume_daemon.curriculum.traces import entries_of
from resume_daemon.curriculum.tracker_rows import tracker_rows
from resume_daemon.errors import FormatError, ResumeDaemonError, UsageError, VanishedError
from resume_daemon.files import is_inside, read_bounded
from resume_daemon.findings import Severity
from resume_daemon.repair.steps import WriteFile

if TYPE_CHECKING:
    from datetime import datetime

    from resume_daemon.curriculum.diagnosis import Diagnosis
    from resume_daemon.curriculum.schemas import Schema
    from resume_daemon.curriculum.state import StateRead
    from resume_daemon.state_directory import StateDirectory


def propose_restore(
    found: Diagnosis, state: StateDirectory | None, checkpoint: str
) -> tuple[Proposal, ...]:
    """Return how the versions that belong to a checkpoint are put back.

    Raises:
        UsageError: Nothing was kept for it.
        FormatError: What was kept is damaged, holds no curriculum state, or leaves the run.
        ResumeDaemonError: What is there cannot be read.
    """
    snapshot = snapshot_of(state, checkpoint)
    plan = plan_restore(snapshot, found.run)
    proposals = [
        Proposal(
            step.file,
            Action.RESTORE,
            step.sentence,
            (
                WriteFile(
                    step.target,
                    step.before,
                    snapshot.content(CURRICULUM + step.file),
                    f"restore {step.file}: {step.sentence}",
                ),
            ),
        )
        for step in plan.steps
    ]
    proposals += [
        Proposal(file, Action.NOTHING, f"it is the version of {snapshot.index.checkpoint} already")
        for file in plan.unchanged
    ]
    return tuple(proposals)


def snapshot_of(state: StateDirectory | None, checkpoint: str) -> Snapshot:
    """Return the snapshot of a checkpoint, verified.

    Raises:
        UsageError: There is none.
        FormatError: It is damaged.
    """
    name = checkpoint.rstrip("/").rpartition("/")[2]
    known = [path.name for path in list_snapshots(state.snapshots)] if state is not None else []
    if state is None or name not in known:
        listed = ", ".join(sorted(known, key=lambda each: (len(each), each))[-5:])
        raise UsageError(
            "restore the curriculum state of",
            checkpoint,
            "none was kept for it",
            hint=f"There are those of {listed}." if listed else "No daemon has kept any.",
        )
    return read_snapshot(state.snapshots / name)


def propose_fresh(
    found: Diagnosis, now: datetime, file: str | None = None, why: str = ""
) -> Proposal:
    """Return how a state is made anew at the checkpoint's step.

    Raises:
        UsageError: There is no checkpoint, or it is not clear which file is meant.
        ResumeDaemonError: No fresh state of its shape is known, or the file cannot be replaced.
    """
    at = found.checkpoint
    if at is None:
        raise UsageError(
            "make a fresh curriculum state for", found.run, "the run has no checkpoint",
            hint="Without one the trainer begins with a fresh state by itself.",
        )  # fmt: skip
    file = file or _only_file(found)
    target = Path(os.path.realpath(found.run / file))
    if not is_inside(target, found.run):
        raise FormatError("write to", found.run / file, "it is a link that leaves the run")
    read = next((each for each in found.states if each.file == file), None)
    schema = _shape(found, file, read)
    stages, notes = _stages(found, read)
    logged = at.traces.stage_at(at.step)
    stage = logged[0] if logged is not None and logged[0] < len(stages.definitions) else 0
    if stage:
        notes.append(f"the stage is {stage}, as the trainer logged at step {logged and logged[1]}")
    else:
        notes.append("the stage is 0, the first: nothing says for certain that it was another")
    if "$stages" in (schema.fresh or {}).values():
        notes.append(f"{len(stages.definitions)} stages: {stages.label}")
    else:
        notes.append(f"a state of the shape {schema.name} holds no stages: the code defines them")
    content = fresh_state(
        schema,
        stage=stage,
        step=at.step,
        stages=stages.definitions,
        time=now.replace(tzinfo=None).isoformat(),
        checkpoint=str(at.path),
    )
    before = _content(target)
    steps = []
    if before is not None:
        word = "backup" if isinstance(read, StateVersion) else "damaged"
        aside = target.with_name(f"{target.name}.{word}-{now:%Y%m%d-%H%M%S}")
        steps.append(WriteFile(aside, None, before, f"keep {file} as it was"))
    digest = None if before is None else blake3(before).hexdigest()
    sentence = f"a fresh state of step {at.step}"
    steps.append(WriteFile(target, digest, content, sentence))
    why = why or f"{sentence} for {at.name} was asked for"
    return Proposal(file, Action.FRESH, why, tuple(steps), tuple(notes))


def propose_fixes(
    found: Diagnosis, state: StateDirectory | None, now: datetime
) -> tuple[Proposal, ...]:
    """Return what is done about each state file: only what is needed, and the best that there is.

    A kept version of the checkpoint is restored where it is better than what is there; else a lost
    history is rebuilt where that can be done exactly; else, where what is there cannot be used at
    all, a fresh state is made. What is whole is never made anew.

    Raises:
        ResumeDaemonError: Something that was kept is damaged, or a file cannot be replaced.
    """
    files = dict.fromkeys([*(e.file for e in found.states), *(e.file for e in found.earlier)])
    return tuple(_fix(found, state, now, file) for file in files)


def _fix(found: Diagnosis, state: StateDirectory | None, now: datetime, file: str) -> Proposal:
    read = next((each for each in found.states if each.file == file), None)
    own = [f for f in found.findings if f.file == file and f.severity is not Severity.INFO]
    if isinstance(read, StateVersion) and not own:
        return Proposal(file, Action.NOTHING, "nothing is wrong with it")
    wrong = ", ".join(dict.fromkeys(f"{f.code} {_title(f.code)}" for f in own)) or "it is missing"
    if found.checkpoint is None:
        why = f"{wrong}; the run has no checkpoint to go by"
        return Proposal(file, Action.NOTHING, why, stays_wrong=True)
    version, label = _kept_for(found, state, file)
    faults = len(own) if isinstance(read, StateVersion) else None
    if version is not None and (faults is None or _faults(version, found) < faults):
        current = read.digest if isinstance(read, StateVersion) else None
        if version.digest != current:
            target = Path(os.path.realpath(found.run / file))
            if not is_inside(target, found.run):
                raise FormatError(
                    "restore to", found.run / file, "it is a link that leaves the run"
                )
            before = _content(target)
            digest = None if before is None else blake3(before).hexdigest()
            steps = [WriteFile(target, digest, version.content, f"restore {label}")]
            if before is not None and not isinstance(read, StateVersion):
                aside = target.with_name(f"{target.name}.damaged-{now:%Y%m%d-%H%M%S}")
                steps.insert(0, WriteFile(aside, None, before, f"keep {file} as it was"))
            return Proposal(file, Action.RESTORE, f"{wrong}: restore {label}", tuple(steps))
    if not isinstance(read, StateVersion):
        return propose_fresh(found, now, file, f"{wrong}, and no version of it is kept")
    notes: tuple[str, ...] = ()
    if any(finding.code == HISTORY_LOST.id for finding in own):
        rebuilt = _rebuilt(found, read)
        if rebuilt is not None:
            step, notes = rebuilt
            if step is not None:
                return Proposal(file, Action.REBUILD, f"{wrong}: rebuild it", (step,), notes)
    why = f"{wrong}; no kept version is better, and it is whole, so it is left as it is"
    notes += (f"to begin anew: --create-fresh --checkpoint {found.checkpoint.name}",)
    return Proposal(file, Action.NOTHING, why, (), notes, stays_wrong=True)


def _rebuilt(
    found: Diagnosis, read: StateVersion
) -> tuple[WriteFile | None, tuple[str, ...]] | None:
    """Return the write that gives a state its history back, and what is said of it."""
    schema = found.schema_of(read)
    at = found.checkpoint
    document = parse_state(read.file, read.content)
    if schema is None or schema.entry_step is None or at is None or not isinstance(document, dict):
        return None
    path = next((p for p in schema.history if isinstance(document.get(p), list)), None)
    if path is None or not read.file.endswith(".json"):
        return None
    present = list(entries_of(document, schema))
    if len(present) != len(document[path]):
        return None, ("entries without a step cannot be put in order",)
    kept = [
        KeptHistory(
            f"the version of step {each.step}, kept as {each.digest[:12]}",
            tuple(entries_of(parse_state(each.file, each.content), schema)),
        )
        for each in reversed(found.earlier)
        if each.file == read.file and each.digest != read.digest and each.valid_json
    ]
    keys = {key for _, entry in present for key in entry}
    logs = [
        Rows(f"log_history of {at.name}", at.rows),
        Rows("W&B's log", tracker_rows(found.run, keys)),
    ]
    made = rebuild(
        present, kept, logs, until=at.step, step_key=schema.entry_step, window=schema.history_window
    )
    notes = (*(made.sentences() if made.added else ()), *(f"not rebuilt: {s}" for s in made.left))
    if not made.added:
        return None, notes
    notes += (f"the stage is left at {read.stage}",)
    content = encoded(document | {path: [entry for _, entry in made.entries]})
    target = Path(os.path.realpath(found.run / read.file))
    sentence = f"put {made.added} entries before the {len(present)} that are there"
    return WriteFile(target, read.digest, content, sentence), notes


def _kept_for(
    found: Diagnosis, state: StateDirectory | None, file: str
) -> tuple[StateVersion | None, str]:
    """Return the version of a file that belongs to the checkpoint, and how it is named."""
    at = found.checkpoint
    if at is None:
        return None, ""
    if state is not None and at.name in {p.name for p in list_snapshots(state.snapshots)}:
        snapshot = read_snapshot(state.snapshots / at.name)
        if CURRICULUM + file in snapshot.index.files:
            content = snapshot.content(CURRICULUM + file)
            version = interpret(file, content, found.look.schemas, mtime_ns=0, seen_at=0)
            assignment = snapshot.index.curriculum.get(file)
            return version, assignment.sentence if assignment else f"the state kept with {at.name}"
    kept = {each.digest: each for each in found.earlier if each.file == file}
    known = [Known(e.digest, e.trainer_step, e.seen_at, file, e.stage) for e in kept.values()]
    assigned = assign(at.step, known, checkpoint=at.name) if known else None
    if assigned is None or not assigned.certain or (assigned.offset or 0) > 0:
        return None, ""
    return kept[assigned.digest], assigned.sentence


def _faults(version: StateVersion, found: Diagnosis) -> int:
    at = found.checkpoint
    beside = Beside(
        (at.name, at.step) if at else None,
        at.log if at else None,
        found.earlier,
        found.look.ahead_limit,
        found.look.behind_limit,
    )
    told = state_findings(version, found.look.schemas, beside)
    return sum(finding.severity is not Severity.INFO for finding in told)


def _only_file(found: Diagnosis) -> str:
    names = list(dict.fromkeys([*(e.file for e in found.states), *(e.file for e in found.earlier)]))
    if len(names) > 1:
        raise UsageError(
            "make a fresh curriculum state", None, f"there are several: {', '.join(names)}",
            hint="Name one with --file.",
        )  # fmt: skip
    return names[0] if names else "curriculum_state.json"


def _shape(found: Diagnosis, file: str, read: StateRead | None) -> Schema:
    versions = [read, *reversed([each for each in found.earlier if each.file == file])]
    for version in versions:
        schema = found.schema_of(version) if isinstance(version, StateVersion) else None
        if schema is not None and schema.fresh is not None:
            return schema
    last = file.rpartition("/")[2]
    known = any(isinstance(v, StateVersion) and v.schema not in {None, "generic"} for v in versions)
    for schema in () if known else found.look.schemas:
        if schema.fresh is not None and last in schema.files:
            return schema
    raise ResumeDaemonError(
        "make a fresh curriculum state",
        found.run / file,
        "it is not known what a fresh state of its shape is",
        hint="Say so under curriculum.schemas (fresh), or move the file away and let the trainer "
        "begin anew.",
    )


def _stages(found: Diagnosis, read: StateRead | None) -> tuple[FoundStages, list[str]]:
    """Return the stages to begin with: of the code, of the old state, of a version, or shipped."""
    in_code = [each for path, tree in found.code.trees for each in stages_in_code(tree, path.name)]
    if in_code:
        more = [f"stages stand in {each.label} as well" for each in in_code[1:4]]
        return in_code[0], more
    for version in (read, *reversed(found.earlier)):
        if not isinstance(version, StateVersion) or not version.valid_json:
            continue
        schema = found.schema_of(version)
        stages = stages_of(parse_state(version.file, version.content), schema)
        fields = schema.stage_fields if schema is not None else ()
        if stages and not any(
            stage_fault(s, fields, stages.definitions) for s in stages.definitions
        ):
            return FoundStages(stages.definitions, f"those of {version.file} as it was"), []
    return shipped_stages(), []


def _content(target: Path) -> bytes | None:
    try:
        return read_bounded(target, STATE_LIMIT)
    except VanishedError:
        return None


def _title(code: str) -> str:
    known = catalog.code(code)
    return known.title[:1].lower() + known.title[1:] if known is not None else ""
