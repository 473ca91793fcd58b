"""What an attempt to rebuild a file ends in."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """A file that was made anew.

    Attributes:
        content: All of it.
        source: What it was made from, in words that follow "from".
        doubts: What in it is not certain, a whole sentence each; none where it is exact.
    """

    content: bytes
    source: str
    doubts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Refused:
    """Why a file cannot be made anew without guessing: words that follow "because"."""

    reason: str
