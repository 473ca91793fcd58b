"""Is this checkpoint complete and quiet? Pure: what was seen and the time in, a decision out.

Almost no trainer renames a finished directory into place, and the last file of rank 0 is not the
last of the job. So a checkpoint is ready when its required set is there *and* nothing has changed
for a while, and it is looked at again whenever it changes later.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

FRESH_SECONDS = 60.0
"""At first sight, only a change older than this counts as quiet by its time stamp.

The clock of a network file system may be behind ours by seconds; by a minute it is not, or nothing
else would work either.
"""


class Action(StrEnum):
    """What to do with a checkpoint now."""

    NOTHING = "nothing"
    """It is as it was when its verdict was given."""
    WAIT = "wait"
    VERIFY = "verify"
    """It is ready, or it was given up as it is: verify what is there."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How long to wait, in seconds."""

    settle: float = 2.0
    abandon: float = 900.0


@dataclass(frozen=True, slots=True)
class Seen:
    """A checkpoint as one look found it, and since when it has been so.

    Attributes:
        fingerprint: Of the listing.
        quiet_since: Monotonic seconds since which nothing has changed.
        complete: The required set is there and no marker says otherwise.
    """

    fingerprint: str
    quiet_since: float
    complete: bool


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do now, and for ``WAIT`` the monotonic time at which to look again."""

    action: Action
    look_again: float | None = None


def observe(
    before: Seen | None,
    *,
    fingerprint: str,
    complete: bool,
    changed: float,
    now: float,
    wall: float,
) -> Seen:
    """Fold one look into what is known.

    Args:
        before: The look before, or None at first sight.
        fingerprint: Of the listing now.
        complete: Whether the required set is there.
        changed: Newest mtime or ctime of anything in it, seconds since the epoch.
        now: Monotonic time.
        wall: Time since the epoch.
    """
    if before is not None:
        quiet = before.quiet_since if before.fingerprint == fingerprint else now
        return Seen(fingerprint, quiet, complete)
    age = wall - changed
    return Seen(fingerprint, now - age if age > FRESH_SECONDS else now, complete)


def decide(seen: Seen, *, verified: str | None, settings: Settings, now: float) -> Decision:
    """Decide what to do with a checkpoint.

    Args:
        seen: What the last looks found.
        verified: Fingerprint of the listing that the last verdict was given for, or None.
        settings: How long to wait.
        now: Monotonic time.
    """
    if seen.fingerprint == verified:
        return Decision(Action.NOTHING)
    patience = settings.settle if seen.complete else settings.abandon
    ready = seen.quiet_since + patience
    if now >= ready:
        return Decision(Action.VERIFY)
    return Decision(Action.WAIT, ready)


def is_rotation(
    *, before: frozenset[str], now: frozenset[str], required: bool, newer: bool
) -> bool:
    """Return whether files that went away from a verified checkpoint are the trainer's rotation.

    A trainer rotates by removing a whole tree, and only old checkpoints, after it saved a newer
    one. A part that is missing for any other reason is damage, and is verified as such.

    Args:
        before: File names when the verdict was given.
        now: File names now.
        required: Whether the required set is still there.
        newer: Whether the run holds a newer checkpoint.
    """
    return newer and not required and now < before
