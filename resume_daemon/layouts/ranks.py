"""Files that each rank writes: which are missing from a set, told by the numbers in their names."""

from __future__ import annotations

from collections import defaultdict
from itertools import islice
from typing import TYPE_CHECKING

from resume_daemon.layouts.base import Missing

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from resume_daemon.layouts.base import Part, Role

_SHOWN = 8
MOST_RANKS = 1_000_000


def rank_sets(parts: Mapping[str, Part]) -> dict[tuple[str, Role, int | None], dict[int, str]]:
    """Return the files of each set that ranks write together, by rank.

    A run with another number of ranks, where names say it, leaves a set of its own beside.
    """
    found: dict[tuple[str, Role, int | None], dict[int, str]] = defaultdict(dict)
    for name, part in sorted(parts.items()):
        if part.rank is not None:
            found[part.of, part.role, part.world][part.rank] = name
    return found


def world_size(parts: Mapping[str, Part]) -> int:
    """Return how many ranks wrote: what names say, else one more than the highest rank seen."""
    told = max((part.world for part in parts.values() if part.world is not None), default=0)
    seen = max((part.rank for part in parts.values() if part.rank is not None), default=-1)
    return min(told or seen + 1, MOST_RANKS)


def missing_ranks(parts: Mapping[str, Part], world: int | None = None) -> Iterator[Missing]:
    """Yield each set that lacks ranks, in one sentence.

    Args:
        parts: The files that belong together: each set among them has to have every rank.
        world: How many there are, where something better than the names says so.
    """
    expected = world_size(parts) if world is None else world
    for (of, role, _), files in rank_sets(parts).items():
        yield from missing_of(files, range(expected), of or role.value, role)


def missing_of(
    files: Mapping[int, str], ranks: Collection[int], what: str, role: Role
) -> Iterator[Missing]:
    """Yield in one sentence the ranks of which a set has no file; nothing where none is missing.

    Args:
        files: The set's files, by rank.
        ranks: Those that have to be there.
        what: What the set is.
        role: The part of the training state that it is.
    """
    count = len(ranks) - sum(rank in ranks for rank in files)
    if count:
        absent = list(islice((rank for rank in ranks if rank not in files), _SHOWN))
        shown = ", ".join(map(str, absent)) + (", ..." if count > len(absent) else "")
        there = f"; {files[min(files)]} is there" if files else ""
        yield Missing(role, f"{what} of rank {shown} ({count} of {len(ranks)}{there})")
