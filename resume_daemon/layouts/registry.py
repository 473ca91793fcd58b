"""Which layouts there are, and which one a directory has."""

from __future__ import annotations

from functools import cache
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from resume_daemon.layouts.base import Layout
    from resume_daemon.listing import Listing

ENTRY_POINT_GROUP = "resume_daemon.layouts"


@cache
def layouts() -> tuple[Layout, ...]:
    """Return every installed layout, this project's own first, then by name.

    A third party's layout that cannot be imported is said once and left out: it must not stop the
    daemon from watching the others.
    """
    from resume_daemon.layouts.huggingface import HuggingFace  # noqa: PLC0415 - it imports base

    found: dict[str, Layout] = {HuggingFace.name: HuggingFace()}
    for point in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda p: p.name):
        if point.name in found:
            continue
        try:
            found[point.name] = point.load()()
        except Exception:  # noqa: BLE001 - foreign code may raise anything
            structlog.get_logger().exception("layout cannot be loaded", layout=point.name)
    return tuple(found.values())


def layout_of(listing: Listing) -> Layout | None:
    """Return the layout of a checkpoint: by name and files, else by files alone, else by name."""
    named = [each for each in layouts() if each.step_of(listing.root.name) is not None]
    for candidates in (named, layouts()):
        for each in candidates:
            if each.recognises(listing):
                return each
    return named[0] if named else None


def is_checkpoint_name(name: str) -> bool:
    """Return whether some layout gives its checkpoints such a name (and it is not staging)."""
    return any(each.step_of(name) is not None and not each.is_staging(name) for each in layouts())
