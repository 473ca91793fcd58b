"""Healthy checkpoints of every layout, made without torch; layouts have ``BUILDERS`` here."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Builder = Callable[[Path, int], Path]
    """Writes a healthy checkpoint of a step into a run, and returns where it is."""


@cache
def builders() -> dict[str, Builder]:
    """Return every builder by the name of its variant, such as ``deepspeed-zero3``."""
    found: dict[str, Builder] = {}
    for module in iter_modules(__path__):
        found |= getattr(import_module(f"{__name__}.{module.name}"), "BUILDERS", {})
    return dict(sorted(found.items()))
