"""Temporary files: ``*.tmp``, which a writer renames when it is done, or leaves when it is killed.

They may hold the only copy of what was being written, so they are set aside.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from resume_daemon.cleanup.values import Action, Kept, Leftover, Removal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resume_daemon.cleanup.view import TreeView

_NAME: Final = re.compile(r".*\.tmp(?:\.\d+)?")


def find(view: TreeView) -> Iterator[Removal | Kept]:
    """Yield the temporary files."""
    for entry in view.files:
        if _NAME.fullmatch(entry.parts[-1]) is None:
            continue
        if (why := view.why_not(entry)) is not None:
            yield Kept(view.tree.path(entry), Leftover.TEMPORARY, why)
            continue
        yield Removal(
            view.tree,
            entry,
            Leftover.TEMPORARY,
            Action.SET_ASIDE,
            entry.identity.size,
            "no process has it open, and it has been left alone for an hour",
        )
