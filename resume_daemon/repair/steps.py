"""What a repair does, step by step, as values: each knows what has to be there, and its inverse.

Whatever wants a file of the user changed (parameters, curriculum, checkpoints) says so in these
values. Only ``repair.apply`` carries them out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class WriteFile:
    """Give one file a new content, or make it.

    Attributes:
        target: The file, absolute, with links resolved.
        before: BLAKE3 of what has to be there, 64 hex digits; None where nothing may be there.
        content: What will be there.
        sentence: What this does and from what, for a person ("restore the curriculum state of
            step 20, as kept with checkpoint-20").
    """

    target: Path
    before: str | None
    content: bytes
    sentence: str


@dataclass(frozen=True, slots=True)
class Move:
    """Move a file or a directory to a place on the same file system where nothing is.

    Attributes:
        source: What is moved, absolute.
        target: Where to.
        before: BLAKE3 over names, sizes, modification times and kinds of all that is below
            ``source``, 64 hex digits (``repair.listing_digest``).
        sentence: What this does and why, for a person.
    """

    source: Path
    target: Path
    before: str
    sentence: str


RepairStep = WriteFile | Move
