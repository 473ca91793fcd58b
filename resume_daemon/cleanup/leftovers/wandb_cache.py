"""W&B's artifact cache: files that are not what their name says, and parts of downloads.

All of it can be downloaded again, so it is deleted. Which are damaged was found out by reading
(``resume_daemon.cleanup.wandb_cache``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from resume_daemon.cleanup.values import Action, Kept, Leftover, Removal
from resume_daemon.cleanup.view import DAY
from resume_daemon.cleanup.wandb_cache import is_partial

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resume_daemon.cleanup.view import TreeView


def find(view: TreeView) -> Iterator[Removal | Kept]:
    """Yield what is damaged or unfinished in the cache."""
    for entry in view.files:
        if entry.identity in view.damaged:
            why = "its content is not what its name says: W&B would use it all the same"
        elif is_partial(view.tree, entry):
            why = "it is part of a download that ended more than 24 hours ago"
        else:
            continue
        if (kept := view.why_not(entry, age=DAY)) is not None:
            yield Kept(view.tree.path(entry), Leftover.WANDB_CACHE, kept)
            continue
        size = entry.identity.size
        yield Removal(view.tree, entry, Leftover.WANDB_CACHE, Action.DELETE, size, why)
