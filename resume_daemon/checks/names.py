"""Names of tensors in messages, and which of them are siblings."""

from __future__ import annotations

import re


def kind_of(name: str) -> str:
    """Return a parameter's name without layer and expert, so that siblings share it.

    Only numbers that stand alone are taken out: ``w1`` and ``w2`` are no siblings.
    """
    return re.sub(r"(?<![^.])\d+(?![^.])", "#", name)


def some(tensors: list[str], one: str, several: str) -> str:
    """Return the first of some tensors and the number of others, with the verb."""
    if len(tensors) == 1:
        return f"{tensors[0]} {one}"
    return f"{tensors[0]} and {len(tensors) - 1} more tensors {several}"
