"""What the pickles of one file may cost: an estimate of memory, and a count of steps.

Counts of values alone bound little: a value takes from 8 bytes to 64 KiB. So whatever lasts is
charged with what CPython 3.11 takes for it, and nothing is ever given back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from resume_daemon.formats.inert_values import BeyondBoundError

if TYPE_CHECKING:
    from resume_daemon.formats.inert_values import Limits

# Bytes, measured with sys.getsizeof and rounded up to what the allocator hands out. What the
# checks that follow need for each container is part of it.
SLOT: Final = 9
"""A place in a list, with what lists keep in reserve."""

LIST: Final = 96
TUPLE: Final = 64
CALL: Final = 112
DICT: Final = 104
SET: Final = 320
ENTRY: Final = 50
"""A key and value of a dict; a large dict takes 30 to 60 for each."""

MEMBER: Final = 100
"""A member of a set; a set quadruples when it grows."""

NUMBER: Final = 32
TEXT: Final = 64
"""A text or byte string, beyond its own bytes."""

SHARED: Final = 300
"""A container that stands in more than one place, for what is remembered of it."""

RARE: Final = 300
"""What takes entries of several tables: a memo out of order, a key of a rare kind."""

GLOBAL: Final = 200
TENSOR: Final = 900
"""A tensor, with its name and where it and its storage lie."""


class Budget:
    """What is left for the pickles of one file."""

    __slots__ = ("_memory", "_steps", "memory", "steps")

    def __init__(self, limits: Limits) -> None:
        self._memory = self.memory = limits.memory
        self._steps = self.steps = limits.steps

    def charge(self, memory: int, steps: int = 0) -> None:
        """Take from what is left.

        Raises:
            BeyondBoundError: That much is not left.
        """
        self.memory -= memory
        self.steps -= steps
        if self.memory < 0:
            raise BeyondBoundError(
                f"its values take more than {self._memory >> 10} KiB of memory, which is not used "
                "for one pickle"
            )
        if self.steps < 0:
            raise BeyondBoundError(f"it takes more than {self._steps} instructions")
