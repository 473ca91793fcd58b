"""Reading what a report shows: the ledger, and the newest state of the curriculum."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from resume_daemon.curriculum.discovery import discover
from resume_daemon.curriculum.documents import NotWholeError, parse_state
from resume_daemon.curriculum.entries import performances
from resume_daemon.curriculum.schemas import known_schemas, recognise
from resume_daemon.curriculum.state import StateVersion, read_state
from resume_daemon.errors import LedgerError, ResumeDaemonError
from resume_daemon.ledger.queries import RunState
from resume_daemon.ledger.reader import read_records
from resume_daemon.report.html.facts import (
    OPTIMIZER_STEPS,
    Curriculum,
    Drift,
    Facts,
    Firing,
    Pair,
    StageMark,
)
from resume_daemon.report.rows import newest_sound, rows

if TYPE_CHECKING:
    from pathlib import Path

    from resume_daemon.curriculum.entries import Performance
    from resume_daemon.ledger.record import Record
    from resume_daemon.state_directory import StateDirectory


def gather(run: Path, state: StateDirectory | None, *, now: datetime | None = None) -> Facts:
    """Return what a report of a run shows.

    A line of the ledger that is damaged is counted and passed over: a report is wanted most where
    something is wrong.

    Args:
        run: The run directory, links resolved.
        state: Its sidecar; None, or one without a ledger, where no daemon has watched it.
        now: The time that the report is of; by default, now.

    Raises:
        ResumeDaemonError: The ledger cannot be read at all.
    """
    history = _History()
    known = state is not None and os.path.isfile(state.ledger)  # noqa: PTH113 - that of Path raises
    damaged: list[LedgerError] = []
    if state is not None and known:
        for record in read_records(state.ledger, on_damage=damaged.append):
            history.apply(record)
    doubts = [f"{len(damaged)} lines of the ledger are damaged and left out"] if damaged else []
    curricula = _curricula(run, history.marks, doubts)
    return Facts(
        run=os.fspath(run),
        made_at=now or datetime.now(UTC),
        checkpoints=rows(history.state),
        newest_sound=newest_sound(history.state),
        pairs=tuple(history.pairs),
        drifts=tuple(history.drifts),
        curricula=curricula,
        firing=tuple(
            Firing(
                each.condition.code,
                each.condition.severity.value,
                each.condition.message,
                each.since,
            )
            for each in history.state.firing.values()
        ),
        records=history.records if known else None,
        last_record=history.last,
        doubts=tuple(doubts),
    )


class _History:
    """What a ledger says over time, beside what it says now."""

    def __init__(self) -> None:
        self.state = RunState()
        self.pairs: list[Pair] = []
        self.drifts: list[Drift] = []
        self.marks: dict[str, list[StageMark]] = {}
        self.records = 0
        self.last: datetime | None = None
        self._open: dict[str, int] = {}

    def apply(self, record: Record) -> None:
        """Take one record in."""
        self.state.apply(record)
        self.records += 1
        self.last = record.at
        get = record.fields.get
        if record.kind == "pair":
            self._pair(record)
        elif record.kind == "drift":
            self._drift(record)
        elif record.kind == "curriculum":
            file, step, stage = get("file"), _integer(get("step")), get("stage")
            if isinstance(file, str) and step is not None and stage is not None:
                self.marks.setdefault(file, []).append(StageMark(step, str(stage)))

    def _pair(self, record: Record) -> None:
        get = record.fields.get
        tracker_step, trainer_step = _integer(get("tracker_step")), _integer(get("trainer_step"))
        if tracker_step is None or trainer_step is None:
            return
        self.pairs.append(
            Pair(
                segment=str(get("segment") or ""),
                tracker_step=tracker_step + (_integer(get("base")) or 0),
                trainer_step=trainer_step,
                checkpoint=get("checkpoint") if isinstance(get("checkpoint"), str) else None,
                predicted=get("predicted") is True,
            )
        )

    def _drift(self, record: Record) -> None:
        get = record.fields.get
        key = get("condition")
        if not isinstance(key, str):
            return
        place = self._open.get(key)
        before = self.drifts[place] if place is not None else None
        if get("state") == "resolved":
            if before is not None and place is not None:
                self.drifts[place] = _with(before, until=record.at)
                del self._open[key]
            return
        now = Drift(
            code=str(get("code") or ""),
            key=key,
            message=str(get("message") or ""),
            trainer_step=_integer(get("trainer_step")),
            amount=_integer(get("drift")),
            since=before.since if before is not None else record.at,
        )
        if place is not None:
            self.drifts[place] = now
            return
        self._open[key] = len(self.drifts)
        self.drifts.append(now)


def _with(drift: Drift, *, until: datetime) -> Drift:
    return Drift(
        drift.code,
        drift.key,
        drift.message,
        drift.trainer_step,
        drift.amount,
        drift.since,
        until,
    )


def _curricula(
    run: Path, marks: dict[str, list[StageMark]], doubts: list[str]
) -> tuple[Curriculum, ...]:
    """Return every curriculum file of the record and of the run, with its newest history."""
    schemas = known_schemas()
    try:
        there = discover(run, schemas).files
    except ResumeDaemonError as error:
        doubts.append(str(error))
        there = ()
    found = []
    for file in dict.fromkeys([*marks, *there]):
        entries: tuple[Performance, ...] = ()
        left_out, unit = 0, OPTIMIZER_STEPS
        try:
            read = read_state(run / file, run=run, schemas=schemas)
            if isinstance(read, StateVersion):
                document: Any = parse_state(file, read.content)
                if (schema := recognise(document, file, schemas)) is not None:
                    entries, left_out = performances(document, schema)
                    unit = schema.unit.value
        except (ResumeDaemonError, NotWholeError) as error:
            doubts.append(str(error))
        if marks.get(file) or entries:
            found.append(Curriculum(file, tuple(marks.get(file, ())), entries, left_out, unit))
    return tuple(found)


def _integer(value: Any) -> int | None:
    return value if type(value) is int else None
