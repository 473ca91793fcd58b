"""Orbax's documents: can its tree of parameters be read, and do those beside it follow it?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from resume_daemon.checks.array_store import STORE_DAMAGED
from resume_daemon.layouts.base import Role
from resume_daemon.layouts.orbax_names import checkpoint_problems
from resume_daemon.layouts.orbax_tree import (
    METADATA,
    SHAPES,
    SHARDING,
    STRINGS,
    TREE,
    shapes_problems,
    sharding_problems,
    texts_problems,
    tree_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resume_daemon.evidence import Evidence
    from resume_daemon.findings import Finding
    from resume_daemon.layouts.orbax_tree import Tree

_SHOWN = 8


def check(evidence: Evidence) -> Iterator[Finding]:
    """Yield a finding for each document that contradicts the tree, or is not to be understood."""
    for name, content in sorted(evidence.contents.items()):
        folder, slash, base = name.rpartition("/")
        if name == METADATA and isinstance(content.value, dict):
            for problem in checkpoint_problems(content.value):
                yield STORE_DAMAGED.finding(f"{name}: {problem}", file=name)
        if base != TREE or evidence.parts[name].role is not Role.SHARD_METADATA:
            continue
        if not isinstance(content.value, dict):
            continue  # Told as every such document is.
        tree = tree_of(content.value)
        for problem in tree.problems[:_SHOWN]:
            yield STORE_DAMAGED.finding(f"{name}: {problem}", file=name)
        if tree.problems:
            continue  # What is beside it cannot be held against it.
        yield from _beside(folder + slash, tree, evidence)


def _beside(folder: str, tree: Tree, evidence: Evidence) -> Iterator[Finding]:
    for name, content in sorted(evidence.contents.items()):
        if not name.startswith(folder) or not isinstance(content.value, dict):
            continue
        rest = name[len(folder) :]
        if rest == STRINGS:
            problems = texts_problems(content.value, tree)
        elif rest == SHARDING:
            problems = sharding_problems(content.value, tree, evidence.listing.path(name))
        elif rest.startswith(SHAPES):
            problems = shapes_problems(content.value, tree)
        else:
            continue
        for _, problem in zip(range(_SHOWN), problems, strict=False):
            yield STORE_DAMAGED.finding(f"{name}: {problem}", file=name)
