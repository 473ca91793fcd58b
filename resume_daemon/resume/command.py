"""The trainer's command with the checkpoint in it. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

PLACE = "{checkpoint}"
"""Stands in a command where the path of the checkpoint belongs."""


def with_checkpoint(command: Sequence[str], checkpoint: Path | None) -> tuple[str, ...]:
    """Return the command with every ``{checkpoint}`` replaced.

    Args:
        command: Program and arguments.
        checkpoint: What to resume from. For None, every argument with a ``{checkpoint}`` is left
            out, and so is the option before one that is nothing else
            (``--resume_from_checkpoint {checkpoint}``).
    """
    if checkpoint is not None:
        return tuple(part.replace(PLACE, str(checkpoint)) for part in command)
    kept: list[str] = []
    for part in command:
        if PLACE not in part:
            kept.append(part)
        elif part == PLACE and kept and kept[-1].startswith("-") and "=" not in kept[-1]:
            kept.pop()
    return tuple(kept)


def names_checkpoint(command: Sequence[str]) -> bool:
    """Return whether the command says where the checkpoint's path belongs."""
    return any(PLACE in part for part in command)
