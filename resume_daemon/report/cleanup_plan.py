"""A clean-up in lines, for a person: what goes, what stays, what was not looked at."""

from __future__ import annotations

import shlex
from itertools import groupby
from typing import TYPE_CHECKING

from resume_daemon.cleanup.values import EntryKind
from resume_daemon.report.plain import plain

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from resume_daemon.cleanup.survey import Survey
    from resume_daemon.cleanup.undo import PutBack
    from resume_daemon.cleanup.values import Outcome, Removal

_SHOWN = 10
"""Paths of one kind that are shown; ``--json`` has all."""

_UNIT = 1024


def plan_lines(found: Survey) -> list[str]:
    """Return what would be done, kind by kind, what stays, and what is not known."""
    return [plain(line) for line in _plan(found)]


def _plan(found: Survey) -> Iterator[str]:
    for heading, group in _groups(found.plan.removals):
        yield f"would {group[0].action.value}: {heading}"
        yield from _paths([f"{each.path}  {each.why}" for each in group])
    if found.plan.kept:
        yield f"stays: {len(found.plan.kept)}"
        yield from _paths([f"{k.path}  {k.leftover.value}: {k.why}" for k in found.plan.kept])
    if found.unseen:
        yield f"not looked at: {len(found.unseen)}"
        yield from _paths([f"{path}  {why}" for path, why in found.unseen])
    for doubt in found.doubts:
        yield f"not certain: {doubt}"
    yield "Run again with --apply to do it." if found.plan.removals else "nothing to clean up"


def outcome_lines(outcomes: Sequence[Outcome], place: Path | None, run: str) -> list[str]:
    """Return what was done and what was not.

    Args:
        outcomes: Of all removals of a plan.
        place: Where things were set aside, or None.
        run: The run, as the user named it.
    """
    return [plain(line) for line in _outcomes(outcomes, place, run)]


def _outcomes(outcomes: Sequence[Outcome], place: Path | None, run: str) -> Iterator[str]:
    for heading, group in _groups([each.removal for each in outcomes if each.done]):
        word = "deleted" if group[0].action.value == "delete" else "set aside"
        yield f"{word}: {heading}"
    left = [each for each in outcomes if not each.done]
    if left:
        yield f"left as it is: {len(left)}"
        yield from _paths([f"{each.removal.path}  {each.why}" for each in left])
    if place is not None:
        yield f"what was set aside is in {place}"
        yield f"  put it back: resume-daemon cleanup {shlex.quote(run)} --undo {place.name}"
        yield "  delete the directory when you miss nothing"


def put_back_lines(every: Sequence[PutBack]) -> list[str]:
    """Return what was put back and what was not."""
    left = [each for each in every if not each.done]
    lines = [f"put back: {len(every) - len(left)}"]
    if left:
        lines.append(f"not put back, and still where it was set aside: {len(left)}")
        lines += _paths([f"{each.path}  {each.why}" for each in left])
    return [plain(line) for line in lines]


def _groups(removals: Sequence[Removal]) -> Iterator[tuple[str, list[Removal]]]:
    """Yield what is of one kind and goes in one way, with a heading."""

    def key(removal: Removal) -> tuple[str, str]:
        return removal.leftover.value, removal.action.value

    for (leftover, _), group in groupby(sorted(removals, key=key), key):
        found = list(group)
        # An empty directory goes with its files, and is not counted beside them.
        count = sum(each.entry.kind is EntryKind.FILE or each.size > 0 for each in found)
        size = size_words(sum(each.size for each in found))
        yield f"{leftover}, {count or len(found)} of {size}", found


def size_words(size: int) -> str:
    """Return bytes as a person reads them."""
    value = float(size)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if value < _UNIT:
            return f"{value:.0f} {unit}" if unit == "bytes" else f"{value:.1f} {unit}"
        value /= _UNIT
    return f"{value:.1f} TiB"


def _paths(lines: Sequence[str]) -> Iterator[str]:
    for line in lines[:_SHOWN]:
        yield f"  {line}"
    if (more := len(lines) - _SHOWN) > 0:
        yield f"  and {more} more (--json names all)"
