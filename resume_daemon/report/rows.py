"""The checkpoint table as values, from the ledger's fold. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from resume_daemon.ledger.record import rfc3339

if TYPE_CHECKING:
    from resume_daemon.ledger.queries import RunState

_SHOWN_BACKUPS = 4


@dataclass(frozen=True, slots=True)
class Row:
    """One checkpoint with everything that is known of it; None where something is not known."""

    checkpoint: str
    step: int | None
    verdict: str
    why: str
    codes: tuple[str, ...]
    stage: str | None
    curriculum_step: int | None
    tracker_step: int | None
    trainer_step: int | None
    drift: int | None

    def as_json(self) -> dict[str, Any]:
        """Return the shape that ``status --json`` promises."""
        return {
            "checkpoint": self.checkpoint,
            "step": self.step,
            "verdict": self.verdict,
            "why": self.why,
            "codes": list(self.codes),
            "stage": self.stage,
            "curriculum_step": self.curriculum_step,
            "tracker_step": self.tracker_step,
            "trainer_step": self.trainer_step,
            "drift": self.drift,
        }


def rows(state: RunState) -> tuple[Row, ...]:
    """Return a row per checkpoint, by step."""
    drifts = {
        segment: firing.condition.drift
        for key, firing in state.firing.items()
        if key.startswith("wandb-drift:")
        for segment in (key.rpartition(":")[2],)
    }
    found = []
    for name, checkpoint in state.checkpoints.items():
        snapshot = state.snapshots.get(name)
        pair = state.pair_at_checkpoint.get(name)
        found.append(
            Row(
                checkpoint=name,
                step=checkpoint.step,
                verdict=checkpoint.verdict,
                why=checkpoint.why,
                codes=checkpoint.codes,
                stage=snapshot.stage if snapshot else None,
                curriculum_step=snapshot.curriculum_step if snapshot else None,
                tracker_step=pair.tracker_step + pair.base if pair else None,
                trainer_step=pair.trainer_step if pair else None,
                drift=drifts.get(pair.segment, 0) if pair else None,
            )
        )
    return tuple(sorted(found, key=lambda row: (row.step is None, row.step or 0, row.checkpoint)))


def counts(state: RunState) -> dict[str, int]:
    """Return how many checkpoints have each verdict."""
    found: dict[str, int] = {}
    for checkpoint in state.checkpoints.values():
        found[checkpoint.verdict] = found.get(checkpoint.verdict, 0) + 1
    return found


def newest_sound(state: RunState) -> str | None:
    """Return the sound checkpoint with the highest step, which a resume should take."""
    sound = [row for row in rows(state) if row.verdict == "sound" and row.step is not None]
    return sound[-1].checkpoint if sound else None


def firing_as_json(state: RunState) -> list[dict[str, Any]]:
    """Return what fires now, in the shape that ``status`` and ``alerts list`` promise."""
    return [
        {
            "condition": key,
            "code": firing.condition.code,
            "severity": firing.condition.severity.value,
            "message": firing.condition.message,
            "since": rfc3339(firing.since),
        }
        for key, firing in state.firing.items()
    ]


def backups_as_json(state: RunState) -> list[dict[str, Any]]:
    """Return the backups that the daemon made and that it did not drop since, the newest first."""
    return [each.as_json() for each in state.verified_backups()]


def backups_line(state: RunState) -> str:
    """Return one line of how many backups there are and of what; empty where there is none."""
    found = state.verified_backups()
    if not found:
        return ""
    names = ", ".join(each.checkpoint for each in found[:_SHOWN_BACKUPS])
    more = f" and {len(found) - _SHOWN_BACKUPS} more" if len(found) > _SHOWN_BACKUPS else ""
    return f"backed up to {found[0].destination}: {names}{more}"
