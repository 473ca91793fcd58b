"""Whether the clock of this machine and that of the files agree. Pure; nothing is written.

Modification times are set by the clock of the file server. One that lies in the future shows that
the two differ, by at least so much; a server's clock that is late cannot be seen without writing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from resume_daemon.findings import Code, Severity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resume_daemon.findings import Finding

FUTURE = Code(
    "RD860",
    "time-in-the-future",
    Severity.WARNING,
    "Files or records of the run are dated in the future",
    "The clock of this machine and that of the file server, or of the machine that trained, "
    "differ. What is decided by times (which save is the newest, whether one has settled, which "
    "curriculum state belongs to it) may be decided wrongly.",
    "Set both clocks: `timedatectl` shows whether this one is synchronised.",
    "transformers trainer_utils.py: rotation sorts by modification time",
)

_LOCAL_SECONDS = 2.0
"""What a file system's own rounding explains: FAT stores two seconds."""
_NETWORK_SECONDS = 5.0
"""What two synchronised machines and an attribute cache explain."""


@dataclass(frozen=True, slots=True)
class ClockFacts:
    """Times in seconds since the epoch.

    Attributes:
        now: Of this machine.
        newest: Name and modification time of the newest of the run's files, or None.
        recorded: When the newest record of the ledger was written, or None.
        network: Whether the files are on another machine.
    """

    now: float
    newest: tuple[str, float] | None = None
    recorded: float | None = None
    network: bool = False


def check(facts: ClockFacts) -> Iterator[Finding]:
    """Yield what is dated in the future."""
    margin = _NETWORK_SECONDS if facts.network else _LOCAL_SECONDS
    if facts.newest is not None and (ahead := facts.newest[1] - facts.now) > margin:
        yield FUTURE.finding(
            f"{facts.newest[0]} is dated {ahead:.0f} seconds after this machine's time.",
            file=facts.newest[0],
        )
    if facts.recorded is not None and (ahead := facts.recorded - facts.now) > _NETWORK_SECONDS:
        yield FUTURE.finding(
            f"The ledger's newest record is dated {ahead:.0f} seconds after this machine's time."
        )


def summary(facts: ClockFacts) -> str:
    """Return what was seen, in a sentence."""
    if facts.newest is None:
        return "there is no file to compare with"
    where = "the file server's" if facts.network else "this machine's"
    return (
        f"files carry {where} time; none is dated in the future"
        if not tuple(check(facts))
        else "this machine's clock and that of the files differ"
    )
