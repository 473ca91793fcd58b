"""Saves that a trainer began and never published, under the names that its layout gives those.

Such a directory is no checkpoint, and nothing resumes from it. It is set aside as a whole, and only
where a whole checkpoint was saved after it; where that is not certain it stays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from resume_daemon.cleanup.protected import is_staging
from resume_daemon.cleanup.values import Action, EntryKind, Kept, Leftover, Removal
from resume_daemon.cleanup.view import DAY
from resume_daemon.layouts.registry import is_checkpoint_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resume_daemon.cleanup.values import Entry
    from resume_daemon.cleanup.view import TreeView


def find(view: TreeView) -> Iterator[Removal | Kept]:
    """Yield the abandoned saves of the run."""
    if not view.tree.is_run:
        return
    for entry in view.children.get((), {}).values():
        if entry.kind is not EntryKind.DIRECTORY or not is_staging(entry.parts[-1]):
            continue
        inside = view.below(entry.parts)
        if (why := _why_not(view, entry, inside)) is not None:
            yield Kept(view.tree.path(entry), Leftover.STAGING, why)
            continue
        yield Removal(
            view.tree,
            entry,
            Leftover.STAGING,
            Action.SET_ASIDE,
            sum(each.identity.size for each in inside if each.kind is EntryKind.FILE),
            "it was never published, and a checkpoint was saved after it",
        )


def _why_not(view: TreeView, entry: Entry, inside: list[Entry]) -> str | None:
    if entry.parts[-1].startswith("old"):
        return "it was a checkpoint until another took its place, and may be the better one"
    if not view.is_complete(entry.parts):
        return "not all of it could be looked at"
    if any(each.kind not in {EntryKind.FILE, EntryKind.DIRECTORY} for each in inside):
        return "there is something in it that is no file"
    if (why := view.why_not(entry, *inside, age=DAY)) is not None:
        return why
    last = max(each.identity.mtime_ns for each in (entry, *inside))
    since = any(
        each.kind is EntryKind.DIRECTORY
        and is_checkpoint_name(each.parts[-1])
        and each.identity.mtime_ns > last
        for each in view.children[()].values()
    )
    return None if since else "no checkpoint was saved after it"
