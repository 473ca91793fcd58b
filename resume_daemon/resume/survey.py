"""Make the resume plan of a run: from its ledger, and from its checkpoints where that is silent."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blake3 import blake3

from resume_daemon.cached import CachedVerdicts
from resume_daemon.curriculum.snapshot import CURRICULUM, Snapshot, read_snapshot
from resume_daemon.curriculum.state import STATE_LIMIT
from resume_daemon.errors import ResumeDaemonError
from resume_daemon.files import read_bounded
from resume_daemon.findings import Severity, Verdict
from resume_daemon.formats.content import Format
from resume_daemon.formats.registry import read
from resume_daemon.layouts.base import Role
from resume_daemon.layouts.registry import checkpoints_in, layout_of, list_checkpoint
from resume_daemon.ledger.queries import RunState, fold
from resume_daemon.ledger.reader import read_records
from resume_daemon.references import known_step, references_of
from resume_daemon.resume.plan import (
    Candidate,
    CurriculumPoint,
    ResumePlan,
    backups_beyond,
    choose,
    newest_first,
)
from resume_daemon.resume.tracker import TrackerPoint, choices
from resume_daemon.seams import StepMode, mode_of
from resume_daemon.trackers.wandb_local import SegmentState
from resume_daemon.verification import Depth, Options, Verification, verify

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from resume_daemon.ledger.queries import PairState
    from resume_daemon.state_directory import StateDirectory

PARAMETERS = (
    "learning_rate",
    "lr_scheduler_type",
    "warmup_steps",
    "max_steps",
    "num_train_epochs",
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "num_generations",
    "max_prompt_length",
    "max_completion_length",
    "beta",
    "temperature",
    "seed",
    "bf16",
)
"""What of the training arguments a plan shows: what a launch script is most likely to change."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the user asks for.

    Attributes:
        degraded: Whether a degraded checkpoint will do.
        anew: Whether every byte is read again, also where nothing was touched since a daemon did.
        run_id: The tracker's run to go on with, where the ledger knows several.
        checkpoint: Name of the only checkpoint that is considered, or None for all of them.
    """

    degraded: bool = False
    anew: bool = False
    run_id: str | None = None
    checkpoint: str | None = None


def survey(
    run: Path,
    state: StateDirectory | None,
    wishes: Wishes = Wishes(),
    *,
    options: Options | None = None,
    names: Sequence[str] | None = None,
    known: RunState | None = None,
    watch: Callable[[Path], Callable[[int], None]] = lambda _: lambda _: None,
    judged: Mapping[str, Verification] | None = None,
) -> ResumePlan:
    """Return the resume plan of a run; nothing is changed.

    Args:
        run: The run directory, with its links resolved.
        state: Where the daemon's files are, or None where none has watched.
        wishes: What the user asks for.
        options: How a checkpoint is verified where that has to be done; None for every byte.
        names: Its checkpoints, where they are known already: a run may hold 100,000 other files.
        known: What its ledger says, where that was read already; None to read it.
        watch: Told of each checkpoint that is read; what it returns is told the bytes.
        judged: What is known, or expected, of checkpoints, by name: these are not read.

    Raises:
        ResumeDaemonError: The run cannot be listed, or its ledger cannot be read.
    """
    names = checkpoints_in(run) if names is None else names
    if known is None:
        known = fold(read_records(state.ledger)) if state is not None else RunState()
    steps = {name: known_step(name, known) for name in names}
    order = newest_first(steps)
    accept = {Verdict.SOUND} | ({Verdict.DEGRADED} if wishes.degraded else set())
    verdicts = None if wishes.anew else CachedVerdicts({run: known})
    judge = _Judge(
        run,
        state,
        known,
        steps,
        options or Options(),
        watch=watch,
        verdicts=verdicts,
        judged=judged or {},
    )
    candidates = judge.candidates(order, only=wishes.checkpoint)
    chosen = choose(candidates, accept=frozenset(accept))
    looked_at = len(chosen.refused) + (chosen.candidate is not None)
    doubts: list[str] = []
    plan = ResumePlan(
        run=run,
        chosen=chosen.candidate,
        refused=chosen.refused,
        untold=tuple(order[looked_at:]),
        reached=_reached(steps, known),
        backups=backups_beyond(chosen.candidate, known.verified_backups()),
        gone=() if names else newest_first({name: each.step for name, each in known.sound.items()}),
    )
    if chosen.candidate is None:
        return plan
    point = _tracker(chosen.candidate, known, wishes.run_id, doubts)
    return replace(
        plan,
        tracker=point,
        choices=choices(point, chosen.candidate.step),
        curriculum=_curriculum(chosen.candidate, run, state, doubts),
        parameters=_parameters(chosen.candidate.path),
        doubts=tuple(doubts),
    )


class _Judge:
    """Judges the checkpoints of a run one by one, as they are asked for."""

    def __init__(
        self,
        run: Path,
        state: StateDirectory | None,
        known: RunState,
        steps: Mapping[str, int | None],
        options: Options,
        *,
        watch: Callable[[Path], Callable[[int], None]],
        verdicts: CachedVerdicts | None,
        judged: Mapping[str, Verification],
    ) -> None:
        self._run = run
        self._state = state
        self._ledger = known
        self._steps = steps
        self._options = options
        self._watch = watch
        self._known = verdicts
        self._judged = judged

    def candidates(self, order: Sequence[str], only: str | None = None) -> Iterator[Candidate]:
        """Yield each checkpoint, or the only one, with its verdict, in the order given."""
        for name in order:
            if only not in {None, name}:
                continue
            path = Path(os.path.realpath(self._run / name))
            try:
                found = self._verify(path)
            except ResumeDaemonError as error:
                yield Candidate(name, self._run / name, self._steps[name], None, (str(error),))
                continue
            graver = [f for f in found.findings if f.severity is not Severity.INFO]
            graver.sort(key=lambda finding: finding.severity is not Severity.ERROR)
            step = found.step if found.step is not None else self._steps[name]
            yield Candidate(
                name,
                self._run / name,
                step,
                found.verdict,
                tuple(f"{f.code} {f.message}" for f in graver),
                found.judged_at,
            )

    def _verify(self, path: Path) -> Verification:
        if path.name in self._judged:
            return self._judged[path.name]
        if self._known is not None:
            found = self._known.find(path, Depth.DEEP)
            if found is not None:
                return found
        manifests = self._state.manifests if self._state is not None else None
        return verify(
            path,
            boundary=self._run,
            references=references_of(path.name, self._ledger, manifests),
            options=self._options,
            progress=self._watch(path),
        )


def _reached(steps: Mapping[str, int | None], known: RunState) -> int | None:
    """Return the highest step that a checkpoint, also one that is gone, or a logged row has."""
    found = [step for step in steps.values() if step is not None]
    found += [each.step for each in known.checkpoints.values() if each.step is not None]
    found += [pair.trainer_step for pair in _pairs(known)]
    found += [segment.highest_trainer_step for pair in _pairs(known) if (segment := _segment(pair))]
    return max(found, default=None)


def _pairs(known: RunState) -> list[PairState]:
    return [*known.pair_in_segment.values(), *known.pair_at_checkpoint.values()]


def _segment(pair: PairState) -> SegmentState | None:
    if pair.state is None:
        return None
    with suppress(TypeError, KeyError, ValueError):
        return SegmentState.from_json(pair.state)
    return None  # Written by another version.


def _tracker(
    chosen: Candidate, known: RunState, wished: str | None, doubts: list[str]
) -> TrackerPoint | None:
    """Return where the tracker's history stood, or None where no one run can be named."""
    pair = known.pair_at_checkpoint.get(chosen.name)
    ids = list(dict.fromkeys(p.run_id for p in known.pair_in_segment.values() if p.run_id))
    run_id = wished or (pair.run_id if pair is not None else None)
    if run_id is None and len(ids) > 1:
        doubts.append(
            f"The run was logged under several ids, and none is recorded for {chosen.name}: "
            f"{', '.join(ids)}. Name one with --run-id."
        )
        return None
    run_id = run_id or next(iter(ids), None)
    if run_id is None:
        return None
    others = [each for each in ids if each != run_id]
    if others:
        doubts.append(f"The run was logged under another id as well: {', '.join(others)}.")
    if pair is None or pair.run_id != run_id:
        doubts.append(f"The tracker's step at {chosen.name} was not recorded.")
        pair = None
    of_run = [p for p in known.pair_in_segment.values() if p.run_id == run_id]
    segments = [segment for p in of_run if (segment := _segment(p)) is not None]
    logged = [p.trainer_step for p in of_run] + [s.highest_trainer_step for s in segments]
    mode = mode_of(segments) if segments else StepMode.UNKNOWN
    return TrackerPoint(
        tracker=next((p.tracker for p in (pair, *of_run) if p is not None), "wandb"),
        run_id=run_id,
        tracker_step=pair.tracker_step + pair.base if pair is not None else None,
        trainer_step=pair.trainer_step if pair is not None else None,
        last_trainer_step=max(logged, default=None),
        explicit=None if mode is StepMode.UNKNOWN else mode is StepMode.EXPLICIT,
        predicted=pair is not None and pair.base > 0,
    )


def _curriculum(
    chosen: Candidate, run: Path, state: StateDirectory | None, doubts: list[str]
) -> tuple[CurriculumPoint, ...]:
    """Return the state files that belong to the checkpoint, by its snapshot."""
    if state is None or not (state.snapshots / chosen.name).is_dir():
        doubts.append(f"No curriculum state was kept for {chosen.name}: no daemon saw it saved.")
        return ()
    try:
        snapshot = read_snapshot(state.snapshots / chosen.name)
    except ResumeDaemonError as error:
        doubts.append(str(error))
        return ()
    found = []
    for file, assignment in snapshot.index.curriculum.items():
        if not assignment.certain:
            doubts.append(f"{file} was chosen by its time, and may belong to a neighbour.")
        found.append(
            CurriculumPoint(
                file,
                None if assignment.stage is None else str(assignment.stage),
                assignment.step,
                assignment.sentence,
                in_place=_is_in_place(snapshot, run, file),
            )
        )
    return tuple(found)


def _is_in_place(snapshot: Snapshot, run: Path, file: str) -> bool:
    kept = snapshot.index.files.get(CURRICULUM + file)
    try:
        content = read_bounded(Path(os.path.realpath(run / file)), STATE_LIMIT)
    except ResumeDaemonError:
        return False
    return kept is not None and blake3(content).hexdigest() == kept.digest


def _parameters(checkpoint: Path) -> dict[str, Any]:
    """Return the training arguments worth showing; none where the layout keeps none."""
    try:
        listing = list_checkpoint(checkpoint, boundary=checkpoint.parent)
        layout = layout_of(listing)
        parts = layout.parts(listing) if layout is not None else {}
        file = next((name for name, part in parts.items() if part.role is Role.ARGUMENTS), None)
        value = read(listing.path(file), Format.TORCH).value if file is not None else None
    except ResumeDaemonError:
        return {}  # Its own finding says so.
    state = getattr(value, "state", None)
    if not isinstance(state, dict):
        return {}
    return {
        name: state[name]
        for name in PARAMETERS
        if isinstance(state.get(name), (str, int, float, bool))
    }
