"""What is said about drift between W&B's step and the trainer's: codes and conditions. Pure.

``seams`` judges; this module words it. At most one condition holds per seam, the most specific:
dropped rows, then another run id, W&B's step back, drift or lost rows. Only the newest seam speaks:
a condition holds until the next segment has a trusted row, and resolves then. That seam is clean or
rewound, or it has a fault of its own, which is another condition.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from resume_daemon.conditions import Condition
from resume_daemon.findings import Code, Severity
from resume_daemon.seams import Seam, SeamKind, cadence_of, logged_ends, newest_seam

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from resume_daemon.steps import StepPair
    from resume_daemon.trackers.wandb_local import SegmentState

_MEASURED = "Measured with wandb 0.22.3 to 0.31.0, transformers 5.23 and TRL 1.16."

WANDB_DRIFT = Code(
    "RD601",
    "wandb-drift",
    Severity.WARNING,
    "W&B kept rows of steps that were trained again",
    "The trainer went back to a checkpoint and W&B did not. The history holds the steps in between "
    "twice, and every later row is shifted by that many W&B steps. Training itself is not damaged; "
    "curves over W&B's step are, and so is every comparison by that step.",
    "Stop, rewind W&B to the step named in the message (resume_from='<run id>?_step=N' of "
    "wandb.init, or WANDB_RESUME_FROM where the trainer reads it) and resume from the same "
    "checkpoint; or accept it and plot over the trainer's step. Rewinding is a preview feature of "
    "W&B's cloud: it needs a run that has ended, and self-managed servers lack it.",
    f"{_MEASURED} wandb/wandb#1395, #2234, #4482, #10438.",
)
WANDB_ROWS_LOST = Code(
    "RD602",
    "wandb-rows-lost",
    Severity.WARNING,
    "Rows of trained steps never reached W&B",
    "Steps that the trainer went through have no row in W&B's log: the process was killed before "
    "wandb wrote them, or ran without W&B. The curve has a hole there; the weights do not.",
    "Nothing brings the rows back through W&B; trainer_state.json of the checkpoint has the "
    "trainer's own log of them. From wandb 0.31 on, less is lost: it writes every 15 seconds, "
    "before that only when 32 KiB are full. Let the trainer end by SIGINT where you can.",
    f"{_MEASURED} wandb/wandb PR #12742.",
)
WANDB_ROWS_DROPPED = Code(
    "RD603",
    "wandb-rows-dropped",
    Severity.WARNING,
    "W&B drops rows because its step is ahead of the trainer's",
    "The trainer passes its own step to W&B, and W&B refuses every step below the highest that it "
    "has seen. The rows of the steps that are trained again are gone; the curve shows the old "
    "values for them, without a mark.",
    "Rewind W&B to the step named in the message and resume from the same checkpoint, or accept "
    "that these steps keep their old rows. Rows that should not be tied to W&B's step need "
    "define_metric with a step metric of their own.",
    f"{_MEASURED} wandb/wandb#1626; the line is written to logs/debug-internal.log at once.",
)
WANDB_RUN_ID_CHANGED = Code(
    "RD604",
    "wandb-run-id-changed",
    Severity.WARNING,
    "The training continues in another W&B run",
    "The trainer resumed from a checkpoint, but wandb.init got no run id and began a new run. The "
    "curve is split over two runs.",
    "Stop, set WANDB_RUN_ID to the earlier id and WANDB_RESUME=must in the trainer's environment, "
    "and resume from the same checkpoint; or keep the new run on purpose.",
    "transformers reads both variables from the environment alone (integration_utils.py); "
    "wandb/wandb#2423, Lightning-AI/pytorch-lightning#13524.",
)
WANDB_STEP_BACK = Code(
    "RD605",
    "wandb-step-back",
    Severity.WARNING,
    "W&B's step went back further than the trainer's",
    "After the resume W&B continues before rows that still counted: its server had received fewer "
    "rows than were logged, the run was deleted or begun anew under the same id, or it was rewound "
    "too far. Rows of steps that are not trained again are missing or overwritten.",
    "Keep the local log of the earlier segment: it still holds the rows, and wandb sync can upload "
    "it under another id. Then accept it, or rewind to an earlier checkpoint's step.",
    f"{_MEASURED} wandb/wandb#2971, #4793.",
)
WANDB_STALLED = Code(
    "RD606",
    "wandb-stalled",
    Severity.WARNING,
    "Checkpoints advance while W&B stands still",
    "The trainer saves new checkpoints, but no row of these steps arrives in W&B's local log, by "
    "more than wandb's own delay. Logging is broken, was switched off, or every row is dropped.",
    "Look at logs/debug-internal.log in the segment's directory and at the trainer's output for "
    "messages of wandb. Training goes on meanwhile; only its record is missing.",
    f"{_MEASURED} wandb writes up to one 32 KiB block (before 0.31) or 15 seconds late.",
)
WANDB_LOG_DAMAGED = Code(
    "RD607",
    "wandb-log-damaged",
    Severity.INFO,
    "Part of W&B's local log is unreadable",
    "A checksum in the .wandb file does not hold, so the records of that block are lost to every "
    "reader, wandb sync included. Steps may be missing from the comparison of steps.",
    "Look at the disk that holds the log. An online run has the rows on W&B's server.",
    "LevelDB's log format: damage costs the rest of a block of 32 KiB.",
)
CODES = (
    WANDB_DRIFT,
    WANDB_ROWS_LOST,
    WANDB_ROWS_DROPPED,
    WANDB_RUN_ID_CHANGED,
    WANDB_STEP_BACK,
    WANDB_STALLED,
    WANDB_LOG_DAMAGED,
)

STALLED_SECONDS = 60.0
"""How much newer than the newest row a checkpoint must be: four of wandb's 15 second intervals."""

_LOG_BLOCK = 32768
_FLUSHED_BY_TIME = (0, 31)


@dataclass(frozen=True, slots=True)
class DroppedRows:
    """Rows that W&B refused in one segment, counted from its debug log.

    ``first`` and ``last`` are (trainer step, W&B's step at that moment).
    """

    run_id: str
    segment: str
    count: int
    first: tuple[int, int]
    last: tuple[int, int]


def conditions(
    segments: Sequence[SegmentState],
    *,
    match: StepPair | None = None,
    dropped: Sequence[DroppedRows] = (),
    checkpoint_steps: Collection[int] = (),
) -> tuple[Condition, ...]:
    """Return what holds now at the newest seam: at most one condition, and damage of the log.

    Args:
        segments: As for ``newest_seam``.
        match: As for ``newest_seam``.
        dropped: Rows that W&B refused, at most one entry per segment.
        checkpoint_steps: As for ``newest_seam``.
    """
    found: list[Condition] = []
    newest, _ = logged_ends(segments)
    names = [s.segment for s in segments]
    current = names[names.index(newest.segment) :] if newest is not None else names
    refused = [rows for rows in dropped if rows.segment in current and rows.count > 0]
    if refused:
        rows = refused[-1]
        before = names.index(rows.segment)
        resumed = any(s.run_id == rows.run_id and s.rows for s in segments[:before])
        found.append(_dropped_condition(rows, resumed=resumed))
    else:
        seam = newest_seam(segments, match=match, checkpoint_steps=checkpoint_steps)
        if seam is not None and (condition := _seam_condition(seam)) is not None:
            found.append(condition)
    if newest is not None and newest.damaged:
        found.append(
            Condition(
                f"{WANDB_LOG_DAMAGED.name}:{newest.run_id}:{newest.segment}",
                WANDB_LOG_DAMAGED.id,
                WANDB_LOG_DAMAGED.severity,
                f"W&B's local log in {newest.segment} is damaged in "
                f"{_count(newest.damaged, 'place')}: the rows there cannot be read, and steps may "
                "be missing from the comparison.",
            )
        )
    return tuple(found)


def stalled(
    segment: SegmentState, *, checkpoint_step: int, seconds_behind: float
) -> Condition | None:
    """Return the condition that checkpoints advance while W&B stands still, or None.

    It resolves when a row near the checkpoint's step arrives, or a new segment begins.

    Args:
        segment: The newest segment. One that ended with an exit record is never stalled.
        checkpoint_step: Step of the newest complete checkpoint.
        seconds_behind: From the moment at which the segment's last trusted row was first seen, to
            the moment at which the checkpoint was complete; negative where the row came later.
    """
    pair, cadence = segment.last_pair, cadence_of(segment)
    if pair is None or cadence is None or segment.exit_code is not None:
        return None
    behind = checkpoint_step - pair.trainer_step
    if behind <= _allowance(segment, cadence) or seconds_behind < STALLED_SECONDS:
        return None
    offset = pair.tracker_step - checkpoint_step
    return Condition(
        f"{WANDB_STALLED.name}:{segment.run_id}",
        WANDB_STALLED.id,
        WANDB_STALLED.severity,
        f"W&B={pair.tracker_step}, trainer={checkpoint_step}, offset={offset}: the last row in "
        f"{segment.segment} is of step {pair.trainer_step}, {_count(behind, 'step')} behind the "
        f"newest checkpoint, and the trainer logs every {_count(cadence, 'step')}. Look for wandb "
        "in the trainer's output and in logs/debug-internal.log.",
        tracker_step=pair.tracker_step,
        trainer_step=checkpoint_step,
        offset=offset,
    )


def _allowance(segment: SegmentState, cadence: int) -> int:
    """Return how many trainer steps W&B's local log may lag behind a healthy trainer."""
    # Two rows: a trainer with explicit steps has its last row committed by the next one.
    allowed = 2 * cadence
    if _version(segment.producer) < _FLUSHED_BY_TIME:
        # Up to one block is held back in memory; two, because the size of rows varies.
        bytes_per_row = max(1, segment.offset // max(1, segment.rows))
        rows_per_log = max(1, min((rows for _, rows in segment.recent), default=1))
        allowed += 2 * _LOG_BLOCK // bytes_per_row // rows_per_log * cadence
    return allowed


def _version(producer: str) -> tuple[int, int]:
    parts = producer.split(".")
    if len(parts) > 1 and parts[0].isdecimal() and parts[1].isdecimal():
        return int(parts[0]), int(parts[1])
    return 0, 0


def _seam_condition(seam: Seam) -> Condition | None:
    numbers = f"W&B={seam.tracker_step}, trainer={seam.resume_step}, offset={seam.offset}"
    predicted = (
        " The run is offline: these are the steps that W&B is expected to assign when it is synced."
        if seam.predicted
        else ""
    )
    again = _steps(seam.resume_step + 1, seam.reached)
    if seam.unseen:
        again += " or more"
    if seam.kind is SeamKind.DRIFT:
        code = WANDB_DRIFT
        stale = "an unknown number of rows" if seam.drift is None else _count(seam.drift, "row")
        belong = "belongs" if seam.drift == 1 else "belong"
        message = (
            f"{stale} of W&B history {belong} to {again} that "
            "were trained again; the curve shows them twice. "
        )
        if seam.rewind_to is not None:
            message += (
                f"To repair it, stop, rewind W&B with resume_from='{seam.run_id}?_step="
                f"{seam.rewind_to}' and resume from step {seam.resume_step} again; or accept it."
            )
        else:
            message += "Accept it, or begin a new W&B run; curves over the trainer step are right."
    elif seam.kind is SeamKind.ROWS_LOST:
        code = WANDB_ROWS_LOST
        message = (
            f"W&B has no row of {_steps(seam.reached + 1, seam.first_trainer_step - 1)}, "
            "more than the logging cadence explains: they were lost when the process before ended, "
            "or it ran without W&B. The curve has a hole; trainer_state.json holds these values."
        )
    elif seam.kind is SeamKind.STEP_BACK:
        code = WANDB_STEP_BACK
        message = (
            "W&B continues before rows that still count"
            + (f", {_count(-seam.drift, 'row')} too early" if seam.drift is not None else "")
            + f": rows up to step {min(seam.resume_step, seam.reached)} are missing or "
            "overwritten. Its server had fewer rows, the run was begun anew, or it was rewound "
            "too far. Keep the local log of the earlier process: it still holds them."
        )
    elif seam.kind is SeamKind.RUN_ID_CHANGED:
        code = WANDB_RUN_ID_CHANGED
        message = (
            f"the trainer continues from step {seam.resume_step}, but in the new W&B run "
            f"{seam.run_id} instead of {seam.previous_run_id}. To go on in one curve, stop, set "
            f"WANDB_RUN_ID={seam.previous_run_id} and WANDB_RESUME=must, and resume again."
        )
    else:
        return None
    return Condition(
        f"{code.name}:{seam.run_id}:{seam.segment}",
        code.id,
        code.severity,
        f"{numbers}: {message}{predicted}",
        tracker_step=seam.tracker_step,
        trainer_step=seam.resume_step,
        offset=seam.offset,
        drift=seam.drift,
    )


def _dropped_condition(rows: DroppedRows, *, resumed: bool) -> Condition:
    step, current = rows.first
    trainer = step - 1
    advice = (
        f"To repair it, stop, rewind W&B with resume_from='{rows.run_id}?_step={trainer}' and "
        f"resume from step {trainer} again; or accept it."
        if resumed
        else "Something else in the trainer logs without a step, or with a later one; give it a "
        "step metric of its own with define_metric."
    )
    return Condition(
        f"{WANDB_ROWS_DROPPED.name}:{rows.run_id}:{rows.segment}",
        WANDB_ROWS_DROPPED.id,
        WANDB_ROWS_DROPPED.severity,
        f"W&B={current}, trainer={trainer}, offset={current - trainer}: W&B dropped "
        f"{_count(rows.count, 'row')} of {_steps(step, rows.last[0])}, because it had already seen "
        f"step {current}; what the curve shows there is older. {advice}",
        tracker_step=current,
        trainer_step=trainer,
        offset=current - trainer,
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _steps(first: int, last: int) -> str:
    return f"steps {first} to {last}" if last > first else f"step {first}"
