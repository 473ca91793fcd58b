"""Everything that a report shows, as values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from resume_daemon.ledger.record import rfc3339

if TYPE_CHECKING:
    from datetime import datetime

    from resume_daemon.curriculum.entries import Performance
    from resume_daemon.findings import Finding
    from resume_daemon.report.rows import Row


OPTIMIZER_STEPS = "optimizer steps"


@dataclass(frozen=True, slots=True)
class Pair:
    """A step pair as it was recorded.

    Attributes:
        segment: The process whose log it is from.
        tracker_step: Over the whole run.
        trainer_step: The trainer's.
        checkpoint: The one that it belongs to, or None.
        predicted: It rests on rows that were not synced yet.
    """

    segment: str
    tracker_step: int
    trainer_step: int
    checkpoint: str | None = None
    predicted: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return the shape that ``report --json`` promises."""
        return {
            "segment": self.segment,
            "tracker_step": self.tracker_step,
            "trainer_step": self.trainer_step,
            "checkpoint": self.checkpoint,
            "predicted": self.predicted,
        }


@dataclass(frozen=True, slots=True)
class Drift:
    """A condition about drift, from when it began to fire.

    Attributes:
        code: The finding code.
        key: Its identity.
        message: What was said.
        trainer_step: Where it was seen, or None.
        amount: Rows of the tracker (or steps of the curriculum), or None.
        since: When it began.
        until: When it resolved; None where it fires still.
    """

    code: str
    key: str
    message: str
    trainer_step: int | None
    amount: int | None
    since: datetime
    until: datetime | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the shape that ``report --json`` promises."""
        return {
            "condition": self.key,
            "code": self.code,
            "message": self.message,
            "trainer_step": self.trainer_step,
            "drift": self.amount,
            "since": rfc3339(self.since),
            "until": None if self.until is None else rfc3339(self.until),
        }


@dataclass(frozen=True, slots=True)
class StageMark:
    """A state of the curriculum: at this step it was in this stage."""

    step: int
    stage: str


@dataclass(frozen=True, slots=True)
class Curriculum:
    """What is known of one curriculum file.

    Attributes:
        file: Its path in the run.
        marks: Steps and stages, in the order in which they were seen.
        performances: What its newest state remembers, in order.
        left_out: Entries of that which have no step or no finite value.
        unit: What its steps count; only ``optimizer steps`` are those of the trainer.
    """

    file: str
    marks: tuple[StageMark, ...]
    performances: tuple[Performance, ...] = ()
    left_out: int = 0
    unit: str = OPTIMIZER_STEPS

    def as_json(self) -> dict[str, Any]:
        """Return the shape that ``report --json`` promises."""
        return {
            "file": self.file,
            "unit": self.unit,
            "stages": [{"step": mark.step, "stage": mark.stage} for mark in self.marks],
            "performances": [{"step": e.step, "value": e.value} for e in self.performances],
            "left_out": self.left_out,
        }


@dataclass(frozen=True, slots=True)
class Firing:
    """A condition that fires now."""

    code: str
    severity: str
    message: str
    since: datetime

    def as_json(self) -> dict[str, Any]:
        """Return the shape that ``report --json`` promises."""
        return {
            "code": self.code,
            "severity": self.severity,
            "message": self.message,
            "since": rfc3339(self.since),
        }


@dataclass(frozen=True, slots=True)
class Theme:
    """What somebody else found out about one theme, such as ``doctor`` about the environment."""

    name: str
    summary: str
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class Facts:
    """All that a report is made of.

    Attributes:
        run: The run directory.
        made_at: When it was gathered.
        checkpoints: By step.
        newest_sound: What to resume from, or None.
        pairs: In the order of the record.
        drifts: In the order of the record.
        curricula: By file.
        firing: What fires now.
        records: Records of the ledger that were read; None where no daemon has watched the run.
        last_record: When the newest was written, or None.
        doubts: What could not be read, in sentences.
    """

    run: str
    made_at: datetime
    checkpoints: tuple[Row, ...] = ()
    newest_sound: str | None = None
    pairs: tuple[Pair, ...] = ()
    drifts: tuple[Drift, ...] = ()
    curricula: tuple[Curriculum, ...] = ()
    firing: tuple[Firing, ...] = ()
    records: int | None = None
    last_record: datetime | None = None
    doubts: tuple[str, ...] = field(default=())

    def as_json(self) -> dict[str, Any]:
        """Return the shape that ``report --json`` promises."""
        return {
            "schema": 1,
            "run": self.run,
            "made_at": rfc3339(self.made_at),
            "records": self.records,
            "checkpoints": [row.as_json() for row in self.checkpoints],
            "newest_sound": self.newest_sound,
            "pairs": [each.as_json() for each in self.pairs],
            "drifts": [each.as_json() for each in self.drifts],
            "curricula": [each.as_json() for each in self.curricula],
            "conditions": [each.as_json() for each in self.firing],
            "doubts": list(self.doubts),
        }

    def highest_step(self) -> int:
        """Return the highest step of the trainer that anything here speaks of."""
        steps = [row.step for row in self.checkpoints if row.step is not None]
        steps += [pair.trainer_step for pair in self.pairs]
        for each in self.curricula:
            if each.unit == OPTIMIZER_STEPS:
                steps += [mark.step for mark in each.marks]
                steps += [entry.step for entry in each.performances]
        return max(steps, default=0)
