"""Looking at everything that a clean-up decides on, and deciding."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from resume_daemon.cleanup.plan import plan_cleanup
from resume_daemon.cleanup.processes import open_files
from resume_daemon.cleanup.protected import refused_root
from resume_daemon.cleanup.walk import walk
from resume_daemon.cleanup.wandb_cache import damaged_objects
from resume_daemon.errors import ResumeDaemonError, UsageError
from resume_daemon.layouts.registry import layouts
from resume_daemon.listing import list_directory

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from resume_daemon.cleanup.values import CleanupPlan


@dataclass(frozen=True, slots=True)
class Survey:
    """What was seen and what follows.

    Attributes:
        roots: What was looked at, the run first.
        plan: What goes and what stays.
        unseen: Places that were not looked into, each with why.
        doubts: What could not be known, in sentences without a full stop.
    """

    roots: tuple[Path, ...]
    plan: CleanupPlan
    unseen: tuple[tuple[Path, str], ...]
    doubts: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Return the shape that ``cleanup --json`` promises, but for what became of removals."""
        return {
            "roots": [str(each) for each in self.roots],
            "bytes": sum(each.size for each in self.plan.removals),
            "kept": [each.as_json() for each in self.plan.kept],
            "unseen": [{"path": str(path), "why": why} for path, why in self.unseen],
            "doubts": list(self.doubts),
        }


def choose_roots(run: Path, others: Sequence[Path]) -> tuple[Path, ...]:
    """Return the roots, the run first; one that lies in another is left out.

    The run stays a root of its own where another lies around it, since its checkpoints are known.

    Args:
        run: The run, links resolved.
        others: Other directories, links resolved.

    Raises:
        UsageError: One is not cleaned up at all.
    """
    for root in (run, *others):
        if (why := refused_root(root, _is_checkpoint)) is not None:
            raise UsageError("clean up", root, why, hint="Nothing was touched.")
    every = {run, *others}
    kept = [
        each
        for each in dict.fromkeys(others)
        if each != run and not any(each != o and each.is_relative_to(o) for o in every)
    ]
    return (run, *kept)


def _is_checkpoint(path: Path) -> bool:
    """Return whether a directory with the name of a checkpoint has the files of one."""
    try:
        listing = list_directory(path, boundary=path.parent)
    except ResumeDaemonError:
        return True  # Nothing is taken away from what cannot be told.
    return any(each.recognises(listing) for each in layouts())


def survey(roots: Sequence[Path]) -> Survey:
    """Look below the roots and plan.

    Args:
        roots: Those of ``choose_roots``: the first is the run.

    Raises:
        UsageError: A root cannot be opened.
    """
    apart = frozenset(roots)
    trees = [walk(root, is_run=root == roots[0], skip=apart - {root}) for root in roots]
    damaged, missed = damaged_objects(trees)
    in_use, closed = open_files()
    plan = plan_cleanup(trees, now_ns=time.time_ns(), in_use=in_use, damaged=damaged)
    doubts = []
    if missed:
        doubts.append(f"{missed} files of W&B's cache could not be read, or are too many to read")
    if closed:
        doubts.append(f"what {closed} processes have open may not be looked at by this user")
    unseen = tuple(each for tree in trees for each in tree.unseen)
    return Survey(tuple(roots), plan, unseen, tuple(doubts))
