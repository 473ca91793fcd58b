"""What changed between two checkpoints, in lines for people."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from resume_daemon.comparison import TensorChange

SHOWN: Final = 20
"""Tensors that are shown, of those that differ most."""


def change_lines(other: Path, changes: Sequence[TensorChange], *, every: bool) -> Iterator[str]:
    """Yield a summary, then the tensors that differ, those that changed most first."""
    counts = Counter(change.status.value for change in changes)
    told = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
    yield f"against {other}: {told or 'no tensors'}"
    listed = [each for each in changes if every or each.status.value != "identical"]
    shown = listed if every else listed[:SHOWN]
    for each in shown:
        yield f"  {each.name}  {_words(each)}"
    if left := len(listed) - len(shown):
        yield f"  and {left} more (--all shows them)"


def _words(change: TensorChange) -> str:
    if change.status.value != "moved" or change.change is None:
        return change.status.value
    return (
        f"moved by {change.change:.2g} of its size, one value by {change.largest_step:.2g}; "
        f"largest {change.largest:.4g}, there {change.largest_there:.4g}"
    )
