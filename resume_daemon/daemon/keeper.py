"""What the keepers share: each keeps one subject, and says what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from resume_daemon.conditions import Condition


@dataclass(frozen=True, slots=True)
class Judged:
    """What a keeper could judge just now, and what it found wrong.

    Attributes:
        prefixes: Of the keys that were judged; absence of a condition resolves only those.
        conditions: What holds.
    """

    prefixes: tuple[str, ...] = ()
    conditions: tuple[Condition, ...] = ()
