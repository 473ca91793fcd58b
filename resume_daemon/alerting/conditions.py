"""From what is wrong now to flips: what began and what ended since the last look. Pure.

A flip goes into the ledger before anybody hears of it, and names the sinks that it is owed to; so
an alert outlives a crash, and what is firing is known again after a restart.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from resume_daemon.conditions import Condition
from resume_daemon.errors import LedgerError
from resume_daemon.findings import Severity
from resume_daemon.ledger.record import rfc3339

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

_GRAVITY = {severity: rank for rank, severity in enumerate(Severity)}


class State(StrEnum):
    """The two states of a condition that are told to anybody."""

    FIRING = "firing"
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True)
class Firing:
    """A condition as it was when it began to fire, and since when it does."""

    condition: Condition
    since: datetime


@dataclass(frozen=True, slots=True)
class Flip:
    """One change of what is wrong.

    Attributes:
        condition: The condition as it was when it began to fire, also in the flip that resolves it.
        state: What it became.
        since: When it began to fire (UTC).
        at: When it flipped (UTC); never before ``since``, and equal to it while firing.
    """

    condition: Condition
    state: State
    since: datetime
    at: datetime

    @property
    def lasted(self) -> timedelta | None:
        """How long the condition fired, or None while it does."""
        return self.at - self.since if self.state is State.RESOLVED else None


def flips(
    firing: Mapping[str, Firing],
    present: Iterable[Condition],
    now: datetime,
    *,
    evaluated: Collection[str] | None = None,
) -> tuple[Flip, ...]:
    """Return what changed: first what began, the gravest first, then what ended.

    A condition that is firing already stays as it is, however its message or severity changed:
    what deserves a second alert has a key of its own.

    Args:
        firing: By key, what was firing until now.
        present: Every condition that holds now. Of two with one key the graver counts, of two as
            grave the first.
        now: This moment, with a time zone.
        evaluated: Prefixes of the keys that this look could judge (``wandb-drift:``), or None for
            all. Absence resolves only those: a tracker that cannot be read just now has not
            recovered.
    """
    gravest: dict[str, Condition] = {}
    for condition in sorted(present, key=lambda found: _GRAVITY[found.severity]):
        gravest.setdefault(condition.key, condition)
    prefixes = None if evaluated is None else tuple(evaluated)
    began = (
        Flip(condition, State.FIRING, since=now, at=now)
        for key, condition in gravest.items()
        if key not in firing
    )
    ended = (
        # A clock that was set back must not make a condition end before it began.
        Flip(known.condition, State.RESOLVED, since=known.since, at=max(now, known.since))
        for key, known in firing.items()
        if key not in gravest and (prefixes is None or key.startswith(prefixes))
    )
    return (*began, *ended)


def record_kind(condition: Condition) -> str:
    """Return the kind of ledger record that a flip of this condition is written as."""
    return "drift" if condition.code.startswith(("RD5", "RD6")) else "condition"


def as_record(flip: Flip, sinks: Iterable[str]) -> dict[str, Any]:
    """Return the fields of a flip's ledger record, owed to these sinks.

    The record stands alone: ``since`` and ``lasted_seconds`` (null while firing) give both times.
    """
    condition = flip.condition
    return {
        "condition": condition.key,
        "state": flip.state.value,
        "code": condition.code,
        "severity": condition.severity.value,
        "message": condition.message,
        "checkpoint": condition.checkpoint,
        "tracker_step": condition.tracker_step,
        "trainer_step": condition.trainer_step,
        "offset": condition.offset,
        "drift": condition.drift,
        "since": rfc3339(flip.since),
        "lasted_seconds": None if flip.lasted is None else flip.lasted.total_seconds(),
        "sinks": list(sinks),
    }


def from_record(fields: Mapping[str, Any]) -> Flip:
    """Return the flip that ``as_record`` wrote.

    Raises:
        LedgerError: The fields are not those of a flip.
    """
    try:
        since = datetime.fromisoformat(fields["since"]).astimezone(UTC)
        state = State(fields["state"])
        lasted = timedelta(seconds=fields["lasted_seconds"] if state is State.RESOLVED else 0)
        condition = Condition(
            key=str(fields["condition"]),
            code=str(fields["code"]),
            severity=Severity(fields["severity"]),
            message=str(fields["message"]),
            **{
                name: None if fields[name] is None else kind(fields[name])
                for name, kind in _OPTIONAL.items()
            },
        )
        return Flip(condition, state, since=since, at=since + max(lasted, timedelta()))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise LedgerError(
            "read a condition from the ledger", None, f"a field is missing or wrong ({error})"
        ) from error


_OPTIONAL: dict[str, type[Any]] = {
    "checkpoint": str,
    "tracker_step": int,
    "trainer_step": int,
    "offset": int,
    "drift": int,
}
