"""From what was found to what may go. Pure: nothing is looked at here and nothing is touched."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resume_daemon.cleanup.leftovers import bytecode, debug_logs, staging, temporary, wandb_cache
from resume_daemon.cleanup.values import CleanupPlan, Kept, Removal
from resume_daemon.cleanup.view import TreeView

if TYPE_CHECKING:
    from collections.abc import Sequence

    from resume_daemon.cleanup.values import Identity, Tree

_RULES = (wandb_cache, temporary, staging, bytecode)
"""What looks at one root; the first that has something to say of a file is heard."""


def plan_cleanup(
    trees: Sequence[Tree],
    *,
    now_ns: int,
    in_use: frozenset[tuple[int, int]] = frozenset(),
    damaged: frozenset[Identity] = frozenset(),
) -> CleanupPlan:
    """Return what goes and what stays.

    Args:
        trees: What was found below each root; no root lies below another.
        now_ns: The time, in nanoseconds since the epoch.
        in_use: Device and inode of what a process has open.
        damaged: Files of W&B's cache that are damaged.
    """
    views = [TreeView(tree, now_ns, in_use, damaged) for tree in trees]
    found = [each for view in views for rule in _RULES for each in rule.find(view)]
    found += debug_logs.find(views)
    removals: dict[object, Removal] = {}
    kept: dict[object, Kept] = {}
    for each in found:
        if each.path in removals or each.path in kept:
            continue
        if isinstance(each, Removal):
            removals[each.path] = each
        else:
            kept[each.path] = each
    return CleanupPlan(tuple(removals.values()), tuple(kept.values()))
