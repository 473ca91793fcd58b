"""What was done to the run, and whether the daemon recorded exactly that. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from resume_daemon.report.rows import newest_sound

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from resume_daemon.conditions import Condition
    from resume_daemon.ledger.chain import ChainReport
    from resume_daemon.ledger.queries import RunState

HALF_WRITTEN: Final = "checkpoint-25"
RESUMED_FROM: Final = "checkpoint-15"
REWRITTEN: Final = "checkpoint-20"
ZEROED: Final = "checkpoint-30"

EXPECTED: Final = {
    "checkpoint-5": "sound",
    "checkpoint-10": "sound",
    RESUMED_FROM: "sound",
    REWRITTEN: "sound",
    HALF_WRITTEN: "incomplete",
    ZEROED: "unsound",
}
"""The verdict that each checkpoint deserves, by what was done to it."""

_DRIFT: Final = "wandb-drift:"


@dataclass(frozen=True, slots=True)
class Alerts:
    """How many alerts the ledger records as delivered, and how many distinct ones arrived."""

    delivered: int
    arrived: int
    refused: int


def drifts(state: RunState) -> list[Condition]:
    """Return the conditions of W&B drift that fire now."""
    return [f.condition for key, f in state.firing.items() if key.startswith(_DRIFT)]


def is_settled(state: RunState, alerts: Alerts, second_start: datetime) -> bool:
    """Return whether everything that is to be seen has been seen.

    Args:
        state: The ledger's fold.
        alerts: Those of now.
        second_start: When the second trainer was started, which rewrites a checkpoint.
    """
    rewritten = state.checkpoints.get(REWRITTEN)
    return (
        rewritten is not None
        and rewritten.at > second_start
        and not list(differences(state, alerts))
        and alerts.delivered >= len(state.firing)
    )


def differences(state: RunState, alerts: Alerts) -> Iterator[str]:
    """Yield a sentence for each thing that was recorded otherwise than it was done."""
    for name, expected in EXPECTED.items():
        known = state.checkpoints.get(name)
        if known is None:
            yield f"{name} should be {expected}; the ledger has no verdict on it"
        elif known.verdict != expected:
            yield f"{name} should be {expected}; the ledger says {known.verdict} ({known.why})"
        elif expected != "incomplete" and name not in state.snapshots:
            yield f"{name} should have a snapshot of the curriculum; the ledger has none"
    for name in sorted(state.checkpoints.keys() - EXPECTED.keys()):
        yield f"the ledger has a verdict on {name}, which nobody wrote"
    if (found := len(drifts(state))) != 1:
        yield (
            f"one W&B drift should fire; the ledger has {found} (before wandb 0.31 the rows of a "
            "killed trainer are lost, and with them what drifted)"
        )
    elif not drifts(state)[0].drift:
        yield "the W&B drift should be of some rows; the ledger has no number"
    if alerts.arrived != alerts.delivered or alerts.refused:
        yield (
            f"every alert should arrive once; the ledger has {alerts.delivered} as delivered, "
            f"{alerts.arrived} arrived and {alerts.refused} came with a wrong signature"
        )
    elif not alerts.arrived:
        yield "alerts should arrive at the webhook; none did"
    if (best := newest_sound(state)) != REWRITTEN:
        yield f"the resume should take {REWRITTEN}; the ledger's newest sound one is {best}"


def chain_difference(chain: ChainReport) -> str | None:
    """Return where the ledger does not hold together, or None."""
    if chain.first_break is None and not chain.torn_tail_bytes:
        return None
    if chain.first_break is None:
        return f"the ledger ends in {chain.torn_tail_bytes} bytes that are no whole record"
    return f"the ledger breaks at line {chain.first_break.line}: {chain.first_break.reason}"
