"""A lost history put together again from what is known for certain. Pure.

An entry that is there is never changed. Added is only what lies before the first of them, from each
source only what lies before all that a better source gave: so two histories are never mixed.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

EVIDENCE = 3
"""Steps at which a key of an entry has to equal one of the log before it is taken from there."""

Entry = tuple[int, "Mapping[str, Any]"]
"""The step of an entry, and the entry as it stands in the state."""


@dataclass(frozen=True, slots=True)
class Rows:
    """What was logged, by step; ``label`` is how it is named to a person."""

    label: str
    rows: Mapping[int, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class KeptHistory:
    """The history of a version that is kept, in its order."""

    label: str
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """A history and where each entry comes from.

    Attributes:
        entries: All of them, those that were there last.
        origins: For each entry a label, "there" for those that were.
        left: What could not be rebuilt, and why, a sentence each.
    """

    entries: tuple[Entry, ...]
    origins: tuple[str, ...]
    left: tuple[str, ...] = ()

    @property
    def added(self) -> int:
        """Return how many entries were added."""
        return sum(origin != THERE for origin in self.origins)

    def sentences(self) -> list[str]:
        """Return what was rebuilt from what."""
        found: dict[str, list[int]] = {}
        for (step, _), origin in zip(self.entries, self.origins, strict=True):
            found.setdefault(origin, []).append(step)
        return [
            f"{len(steps)} entries of steps {min(steps)} to {max(steps)}: "
            + ("they were there" if origin == THERE else f"from {origin}")
            for origin, steps in found.items()
        ]


THERE = "there"


def rebuild(
    present: Sequence[Entry],
    versions: Sequence[KeptHistory],
    logs: Sequence[Rows],
    *,
    until: int,
    step_key: str = "step",
    window: int | None = None,
) -> Rebuilt:
    """Return the history with what can be put before its beginning.

    A row of a log becomes an entry only where every key that the known entries have in common has
    the value of one of the log's keys at all steps that both have: what an entry would lack, or
    hold by guess, is not made up.

    Args:
        present: The entries that are there, in order.
        versions: What is kept, the newest first.
        logs: What was logged, the best first.
        until: The checkpoint's step; nothing later is added.
        step_key: Where an entry has its step.
        window: Entries that the trainer keeps at most.
    """
    entries = list(present)
    origins = [THERE] * len(entries)
    ceiling = min([step for step, _ in entries], default=until + 1)
    ceiling = min(ceiling, until + 1)
    for version in versions:
        older = [(step, entry) for step, entry in version.entries if step < ceiling]
        if not older or not _in_order(older):
            continue
        entries, origins = older + entries, [version.label] * len(older) + origins
        ceiling = older[0][0]
    known = entries + [each for version in versions for each in version.entries]
    left: list[str] = []
    for log in logs:
        steps = sorted(step for step in log.rows if step < ceiling)
        if not steps or not known:
            continue
        keys, missing = learn(known, log.rows, step_key)
        if missing:
            left.append(
                f"{len(steps)} steps from {steps[0]} to {steps[-1]} stand in {log.label}, but no "
                f"{', '.join(missing)} of theirs"
            )
            continue
        made = [
            (step, {step_key: step, **{key: log.rows[step][of] for key, of in keys.items()}})
            for step in steps
            if all(of in log.rows[step] for of in keys.values())
        ]
        if made:
            entries, origins = made + entries, [log.label] * len(made) + origins
            ceiling = made[0][0]
    if window is not None and len(entries) > window:
        surplus = min(len(entries) - window, len(entries) - len(present))
        entries, origins = entries[surplus:], origins[surplus:]
    return Rebuilt(tuple(entries), tuple(origins), tuple(left))


def learn(
    known: Sequence[Entry], rows: Mapping[int, Mapping[str, Any]], step_key: str
) -> tuple[dict[str, str], list[str]]:
    """Return which key of a log each key of the entries is, and the keys that are none.

    One of the same name is taken where both are equal at ``EVIDENCE`` common steps or more and
    differ at none; one of another name needs as many different values as well, since many things
    are 0 all the time.
    """
    shared = set.intersection(*(set(entry) for _, entry in known)) - {step_key} if known else set()
    both = [(entry, rows[step]) for step, entry in known if step in rows]
    found: dict[str, str] = {}
    for key in sorted(shared):
        names = sorted(
            {name for _, row in both for name in row}, key=lambda name: (name != key, name)
        )
        for name in names:
            pairs = [(entry[key], row[name]) for entry, row in both if name in row]
            values = {repr(mine) for mine, _ in pairs}
            enough = EVIDENCE if name != key else 1
            if (
                len(pairs) >= EVIDENCE
                and len(values) >= enough
                and all(type(a) is type(b) and a == b for a, b in pairs)
            ):
                found[key] = name
                break
    return found, sorted(shared - set(found))


def _in_order(entries: Sequence[Entry]) -> bool:
    return all(a[0] <= b[0] for a, b in itertools.pairwise(entries))
