"""Seams between the segments of a tracker's log, judged by steps alone. Pure.

A *seam* is where one process's W&B log (a segment) ends and the next begins. The raw difference of
the two steps says nothing by itself: trainers that leave ``_step`` to W&B move it with every extra
row (measured: 5 to 82 within 12 healthy steps of a TRL GRPO run). What counts is the first trusted
row after a seam, with tracker step ``w1`` and trainer step ``g1``:

* ``g1`` was logged before: *matched drift* ``D = w1 - w_prev(g1)``, where ``w_prev`` is the tracker
  step of the latest earlier row of that trainer step. D rows of the history are stale.
* ``g1`` is new: rows are lost where the gap exceeds the logging cadence and W&B's own count leaves
  no room for them.
* ``w1`` lies before rows that stay valid: W&B's history was restarted or cut too far.
* another run id: the resume lost its id.

A resume that rewinds W&B, or that continues where the trainer stopped, is clean.

Offline segments start ``_step`` at 0 again, whatever the resume (measured with 0.28 to 0.31); the
rows of the segments before are added, and results that rest on that are called predicted until W&B
has noted the real start.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from resume_daemon.steps import StepPair
    from resume_daemon.trackers.wandb_local import SegmentState

_CERTAIN_ROWS = 3


class StepMode(StrEnum):
    """Who decides W&B's ``_step``."""

    EXPLICIT = "explicit"
    """The trainer passes its own step (verl, NeMo-RL, torchtitan, Megatron): both stay equal."""
    AUTOMATIC = "automatic"
    """W&B counts rows (transformers, TRL, OpenRLHF)."""
    UNKNOWN = "unknown"
    """Nothing tells yet; a trainer with one row per step looks like both."""


class SeamKind(StrEnum):
    """What happened at a seam."""

    CLEAN = "clean"
    UNDECIDED = "undecided"
    """More rows are needed, or the earlier log is gone."""
    DRIFT = "drift"
    ROWS_LOST = "rows-lost"
    RUN_ID_CHANGED = "run-id-changed"
    STEP_BACK = "step-back"


@dataclass(frozen=True, slots=True)
class Lookup:
    """The row to find before the newest seam can be judged, by ``wandb_local.find_pair``.

    Attributes:
        segment: The latest earlier segment that went past this trainer step.
        trainer_step: ``g1``; the row with the highest step below serves where it was not logged.
    """

    segment: str
    trainer_step: int


@dataclass(frozen=True, slots=True)
class Seam:
    """The newest seam and what it means. Tracker steps include the base of offline segments.

    Attributes:
        run_id: Of the segment after the seam.
        segment: The segment after the seam.
        kind: The judgement.
        tracker_step: W&B's step just before the seam.
        resume_step: The trainer step that was resumed from: a checkpoint's where one fits, else
            ``g1 - 1``.
        reached: The trainer step that the segment before had logged last.
        first_trainer_step: ``g1``.
        drift: ``D``, or None where it is not defined.
        rewind_to: W&B step to rewind to, to make this seam clean, or None.
        previous_run_id: The run id before the seam.
        predicted: Rests on the base of an offline segment that W&B has not confirmed.
        unseen: Rows from before the seam that W&B counts and the local log does not hold.
    """

    run_id: str
    segment: str
    kind: SeamKind
    tracker_step: int
    resume_step: int
    reached: int
    first_trainer_step: int
    drift: int | None = None
    rewind_to: int | None = None
    previous_run_id: str = ""
    predicted: bool = False
    unseen: int = 0

    @property
    def gap(self) -> int:
        """Trainer steps without a row between ``reached`` and ``g1``; 0 after a rollback."""
        return max(0, self.first_trainer_step - self.reached - 1)

    @property
    def offset(self) -> int:
        """W&B's step minus the trainer's, at the seam."""
        return self.tracker_step - self.resume_step


def mode_of(segments: Sequence[SegmentState]) -> StepMode:
    """Return who decides ``_step`` in the segments of one run id."""
    if any(s.step_sync or s.offset_moved or s.side_rows_move for s in segments):
        return StepMode.AUTOMATIC
    logged = [s.first_pair for s in segments if s.first_pair is not None]
    equal = all(pair.tracker_step == pair.trainer_step for pair in logged)
    if equal and sum(s.trusted for s in segments) >= _CERTAIN_ROWS:
        return StepMode.EXPLICIT
    return StepMode.UNKNOWN


def cadence_of(*segments: SegmentState) -> int | None:
    """Return the largest recent distance between logged trainer steps, or None without two rows.

    The largest, not the median: a trainer that logs irregularly must not look as if it lost rows.
    """
    return max((t for s in segments for t, _ in s.recent if t > 0), default=None)


def bases_of(segments: Sequence[SegmentState]) -> dict[str, tuple[int, bool]]:
    """Return, for each segment, what to add to its ``_step``, and whether that is a prediction."""
    bases: dict[str, tuple[int, bool]] = {}
    following: dict[str, int] = {}
    for segment in segments:
        run_id = segment.run_id
        base, predicted = 0, False
        restarted = segment.offline and segment.first_tracker_step == 0
        if restarted and following.get(run_id):
            run = [s for s in segments if s.run_id == run_id]
            if mode_of(run) is not StepMode.EXPLICIT:
                base = segment.starting_step or following[run_id]
                predicted = not segment.starting_step
        bases[segment.segment] = base, predicted
        if segment.last_tracker_step is not None:
            following[run_id] = base + segment.last_tracker_step + 1
    return bases


def lookup(segments: Sequence[SegmentState]) -> Lookup | None:
    """Return what has to be found in an earlier log to judge the newest seam, or None."""
    newest, earlier = logged_ends(segments)
    if newest is None or newest.first_pair is None or not earlier:
        return None
    step = newest.first_pair.trainer_step
    covering = _covering(step, earlier)
    if covering is None or not _goes_back(step, newest, earlier):
        return None
    return Lookup(earlier[covering].segment, step)


def newest_seam(
    segments: Sequence[SegmentState],
    *,
    match: StepPair | None = None,
    checkpoint_steps: Collection[int] = (),
) -> Seam | None:
    """Judge the newest seam; None where there is none yet.

    Args:
        segments: Every segment of one run directory, in the order of their start.
        match: What the search for ``lookup(segments)`` found.
        checkpoint_steps: Steps of the checkpoints that were there when the newest segment began;
            empty where that is not known.
    """
    newest, earlier = logged_ends(segments)
    if newest is None or newest.first_pair is None:
        return None
    others = [s for s in segments if s.last_pair is not None and s.run_id != newest.run_id]
    previous = earlier[-1] if earlier else others[-1] if others else None
    if previous is None or previous.last_pair is None:
        return None
    bases = bases_of(segments)
    # Segments without a trusted row count here: their side rows moved W&B's step as well.
    ended = max(
        bases[s.segment][0] + s.last_tracker_step
        for s in segments[segments.index(previous) : segments.index(newest)]
        if s.run_id == previous.run_id and s.last_tracker_step is not None
    )
    first = newest.first_pair.trainer_step
    seam = Seam(
        run_id=newest.run_id,
        segment=newest.segment,
        kind=SeamKind.CLEAN,
        tracker_step=ended,
        resume_step=_resume_step(first, cadence_of(newest, previous), checkpoint_steps),
        reached=previous.last_pair.trainer_step,
        first_trainer_step=first,
        previous_run_id=previous.run_id,
        predicted=bases[newest.segment][1],
    )
    if not earlier:
        return _other_run(seam, newest, previous, checkpoint_steps)
    since = segments[segments.index(previous) : segments.index(newest)]
    if first > seam.reached and any(
        s.run_id == newest.run_id and s.exit_code is not None and cadence_of(s) is None
        for s in since
    ):
        # A process that ended in order went on for a while without logging, nobody knows how far.
        return seam
    back = _goes_back(first, newest, earlier)
    begun = _begun(newest, bases)
    mode = mode_of([s for s in segments if s.run_id == newest.run_id])
    if mode is not StepMode.EXPLICIT and begun > ended + 1:
        seam = replace(seam, tracker_step=begun - 1, unseen=begun - ended - 1)
    if back:
        return _rollback(seam, newest, earlier, bases, match)
    if begun <= bases[previous.segment][0] + previous.last_pair.tracker_step:
        return replace(seam, kind=SeamKind.STEP_BACK)
    return _advance(seam, newest, earlier, mode)


def logged_ends(
    segments: Sequence[SegmentState],
) -> tuple[SegmentState | None, list[SegmentState]]:
    """Return the newest segment with a trusted row, and the earlier ones that it continues.

    These have the same run id and rows that W&B still holds: a rewind cuts whole segments away.
    """
    logged = [s for s in segments if s.first_pair is not None]
    if not logged:
        return None, []
    newest = logged[-1]
    bases = bases_of(segments)
    line: list[SegmentState] = []
    for segment in logged:
        if segment.run_id == newest.run_id:
            begun = _begun(segment, bases)
            kept = [s for s in line if _begun(s, bases) < begun]
            if segment is newest:
                # Nothing kept: W&B began anew, which is for the seam to tell.
                return newest, kept or line
            line = [*kept, segment]
    return newest, line


def _begun(segment: SegmentState, bases: Mapping[str, tuple[int, bool]]) -> int:
    """Return the tracker step of a segment's first row."""
    return bases[segment.segment][0] + (segment.first_tracker_step or 0)


def _resume_step(first: int, cadence: int | None, checkpoint_steps: Collection[int]) -> int:
    near = [step for step in checkpoint_steps if first - (cadence or 1) <= step < first]
    if near:
        return max(near)
    # A trainer that evaluates before it trains logs the checkpoint's own step first.
    return first if first in checkpoint_steps else first - 1


def _covering(step: int, earlier: Sequence[SegmentState]) -> int | None:
    """Return the index of the latest segment whose rows span a trainer step."""
    for index in range(len(earlier) - 1, -1, -1):
        first = earlier[index].first_pair
        if first is not None and first.trainer_step <= step <= earlier[index].highest_trainer_step:
            return index
    return None


def _goes_back(step: int, newest: SegmentState, earlier: Sequence[SegmentState]) -> bool:
    """Return whether a trainer step was logged before, on the line that the trainer continues."""
    reached = _reached(earlier[-1:])
    if step <= reached:
        return True
    # Too far on to follow the segment before, but not too far for an older one: the trainer
    # resumed from a checkpoint that a later attempt had already gone back behind.
    allowed = _allowed_gap(newest, earlier)
    far = allowed is not None and step - reached - 1 > allowed
    return far and _covering(step, earlier) is not None


def _allowed_gap(newest: SegmentState, earlier: Sequence[SegmentState]) -> int | None:
    """Return how many steps may lie unlogged at a seam that lost no row; None: not known yet.

    Trainers log at multiples of one number, so a seam changes nothing where both processes log at
    the same distance. Else the one may stop just before it would log, and the other wait as long.
    """
    own, old = cadence_of(newest), cadence_of(*earlier)
    if own is None or old is None:
        return None
    distances = {trainer for s in (newest, *earlier) for trainer, _ in s.recent if trainer > 0}
    return own if len(distances) == 1 else own + old


def _reached(segments: Sequence[SegmentState]) -> int:
    return max((s.last_pair.trainer_step for s in segments if s.last_pair is not None), default=0)


def _advance(
    seam: Seam, newest: SegmentState, earlier: Sequence[SegmentState], mode: StepMode
) -> Seam:
    """Judge a seam after which the trainer logs only new steps: are there rows for the others?"""
    if seam.gap == 0:
        return seam
    allowed = _allowed_gap(newest, earlier)
    if allowed is None:
        return replace(seam, kind=SeamKind.UNDECIDED)
    if seam.gap > allowed:
        seam = replace(seam, reached=_reached(earlier))
    if seam.gap <= allowed:
        return seam
    # Online, W&B's count goes on from what its server has, which wandb before 0.31 does not write
    # to disk in time: rows that only the server has are not lost. Explicit steps do not count rows.
    if not newest.offline and mode is StepMode.EXPLICIT:
        return replace(seam, kind=SeamKind.UNDECIDED)
    if seam.unseen >= seam.gap // allowed or any(s.damaged for s in earlier):
        return seam
    return replace(seam, kind=SeamKind.ROWS_LOST)


def _rollback(
    seam: Seam,
    newest: SegmentState,
    earlier: Sequence[SegmentState],
    bases: Mapping[str, tuple[int, bool]],
    match: StepPair | None,
) -> Seam:
    """Judge a seam after which the trainer logs a step that was logged before."""
    first = newest.first_pair
    if first is None or first.trainer_step == seam.reached == seam.resume_step:
        return seam
    # Everything from the matched segment on is trained again, also where later ones got less far.
    covering = _covering(first.trainer_step, earlier)
    seam = replace(seam, reached=_reached(earlier[covering or 0 :]))
    begun = _begun(newest, bases)
    if match is None:
        # The log that could tell is gone; W&B going on behind its last row tells that much.
        certain = begun > seam.tracker_step
        return replace(seam, kind=SeamKind.DRIFT if certain else SeamKind.UNDECIDED)
    matched = bases.get(match.segment, (0, False))[0] + match.tracker_step
    if match.trainer_step < first.trainer_step:
        matched += 1
    drift = bases[newest.segment][0] + first.tracker_step - matched
    if begun > matched:
        # The rows that this process logs before its first trusted one have to fit in as well.
        rewind_to = begun - drift - 1
        return replace(
            seam,
            kind=SeamKind.DRIFT,
            tracker_step=begun - 1,
            drift=drift,
            rewind_to=rewind_to if rewind_to >= 0 else None,
        )
    # W&B was rewound, at least to before the old row of g1. Up to one step's rows more or fewer
    # are side rows that one of the two processes logged and the other did not.
    if -drift >= max(1, *(s.widest for s in (newest, *earlier))):
        return replace(seam, kind=SeamKind.STEP_BACK, drift=drift)
    return replace(seam, drift=0)


def _other_run(
    seam: Seam,
    newest: SegmentState,
    previous: SegmentState,
    checkpoint_steps: Collection[int],
) -> Seam:
    """Judge whether a new run id continues what another one began, rather than a new training."""
    own, cadence = cadence_of(newest), cadence_of(newest, previous)
    if own is None or cadence is None:
        return replace(seam, kind=SeamKind.UNDECIDED)
    continues = own < seam.first_trainer_step <= seam.reached + cadence
    if checkpoint_steps and seam.resume_step not in checkpoint_steps:
        continues = False
    # A fork gets a new id on purpose.
    if not continues or newest.branch_step is not None:
        return seam
    return replace(seam, kind=SeamKind.RUN_ID_CHANGED)
