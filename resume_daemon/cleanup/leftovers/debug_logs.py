"""Debug logs beyond the newest ten of all roots together; they are set aside.

A debug log has the word "debug" in its name: ``debug.log``, ``debug-internal.log``,
``core-debug-20260101.log``, ``grpo_debug_2.log.1``. A trainer's ``train.log`` is none.

Of a run of W&B nothing else than these is ever touched, and they only where the run is over and its
data are not waiting to be sent: ``wandb sync`` leaves ``*.wandb.synced`` beside what it has sent.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from resume_daemon.cleanup.protected import SEGMENT
from resume_daemon.cleanup.values import Action, EntryKind, Kept, Leftover, Removal
from resume_daemon.cleanup.view import DAY

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from resume_daemon.cleanup.values import Entry
    from resume_daemon.cleanup.view import TreeView

NEWEST = 10
"""Debug logs that stay in any case."""

_NAME: Final = re.compile(r"(?:.+[-_.])?debug(?:[-_.].+)?\.log(?:\.\d+)?", re.IGNORECASE)


def is_debug_log(name: str) -> bool:
    """Return whether a file of such a name is a debug log."""
    return _NAME.fullmatch(name) is not None


def find(views: Sequence[TreeView]) -> Iterator[Removal | Kept]:
    """Yield the debug logs beyond the newest ten, the older ones last."""
    logs = [
        (view, entry)
        for view in views
        for entry in view.tree.entries
        if entry.kind is EntryKind.FILE
        and is_debug_log(entry.parts[-1])
        and not view.is_protected(entry)
    ]
    logs.sort(key=lambda each: (-each[1].identity.mtime_ns, each[0].tree.path(each[1])))
    for view, entry in logs[NEWEST:]:
        if (why := _why_not(view, entry)) is not None:
            yield Kept(view.tree.path(entry), Leftover.DEBUG_LOG, why)
            continue
        yield Removal(
            view.tree,
            entry,
            Leftover.DEBUG_LOG,
            Action.SET_ASIDE,
            entry.identity.size,
            f"there are {NEWEST} newer ones",
        )


def _why_not(view: TreeView, entry: Entry) -> str | None:
    segment = view.segment_of(entry)
    if segment is None:
        return view.why_not(entry)
    if entry.parts[len(segment) : -1] != ("logs",):
        return "it belongs to what a run of W&B has saved"
    if any(
        each.kind is EntryKind.LINK and each.target.rstrip("/").rpartition("/")[2] == segment[-1]
        for each in view.children.get(segment[:-1], {}).values()
    ):
        return "it is of the latest run of W&B"
    match = SEGMENT.fullmatch(segment[-1])
    names = view.children.get(segment, {})
    if match is not None and match["offline"] and not any(n.endswith(".synced") for n in names):
        return "the run of W&B was not sent yet"
    if not view.is_complete(segment):
        return "not all of its run of W&B could be looked at"
    return view.why_not(*view.below(segment), age=DAY)
