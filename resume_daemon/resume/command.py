"""The trainer's command with the checkpoint in it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

PLACE = "{checkpoint}"
"""Stands in a command where the path of the checkpoint belongs."""

OPTIONS = ("--resume_from_checkpoint", "--resume-from-checkpoint")
"""What transformers' ``HfArgumentParser`` makes of ``TrainingArguments.resume_from_checkpoint``, so
every script that is built on it has it (those of TRL, LLaMA-Factory)."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A command that says where the checkpoint's path belongs, as far as that is known.

    Attributes:
        command: Program and arguments, with ``{checkpoint}`` in them where there is a place.
        how: How the path is given to the trainer, for a person; None where no argument does.
    """

    command: tuple[str, ...]
    how: str | None


def place(command: Sequence[str], template: Sequence[str]) -> Placed:
    """Return the command with ``{checkpoint}`` where the path belongs.

    A place that the command names itself goes first; then the option of transformers, whose value
    is replaced, since what stands there belongs to an earlier start; then the template.

    Args:
        command: Program and arguments.
        template: Arguments from the configuration, added at the end.
    """
    if names_checkpoint(command):
        return Placed(tuple(command), "where {checkpoint} stood")
    words = list(command)
    for at, word in enumerate(words):
        option, equals, old = word.partition("=")
        if option not in OPTIONS:
            continue
        if equals:
            words[at] = f"{option}={PLACE}"
        elif at + 1 < len(words) and not words[at + 1].startswith("-"):
            old, words[at + 1] = words[at + 1], PLACE
        else:
            # A flag of the script's own: how it finds the checkpoint is not known.
            continue
        return Placed(tuple(words), f"as {option}, in place of {old or 'nothing'}")
    if template:
        return Placed((*words, *template), "as the configuration says (resume.arguments)")
    return Placed(tuple(words), None)


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
