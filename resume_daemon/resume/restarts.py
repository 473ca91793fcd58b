"""Whether a trainer that has ended is started again, and when. Pure."""

from __future__ import annotations

from dataclasses import dataclass

LONGEST_PAUSE = 300.0
"""Seconds; each pause is twice the one before, until a start has gained a step."""


@dataclass(frozen=True, slots=True)
class Restart:
    """What to do: wait so many seconds and start again, or stop for a reason."""

    pause: float | None
    reason: str = ""


@dataclass(slots=True)
class Restarts:
    """The starts so far.

    Attributes:
        most: Restarts that are allowed.
        made: Restarts that were made.
        from_step: The step that the last start resumed from; -1 for the beginning.
    """

    most: int
    from_step: int
    first_pause: float = 5.0
    made: int = 0
    _next: float = 0.0

    def after(self, status: int, step: int | None) -> Restart:
        """Return what to do after the trainer has ended.

        Args:
            status: Its exit status.
            step: The step that a start would resume from now; None where nothing may be.
        """
        if status == 0:
            return Restart(None, "the trainer has finished")
        if self.made >= self.most:
            return Restart(None, f"it was restarted {self.made} times, as often as allowed")
        if step is None:
            return Restart(None, "there is nothing to resume from")
        gained = step > self.from_step
        if self.made and not gained:
            return Restart(None, f"no step was gained since the last start, from step {step}")
        pause = min(self.first_pause if gained or not self.made else self._next, LONGEST_PAUSE)
        self._next = 2 * pause
        self.made += 1
        self.from_step = step
        return Restart(pause)
