"""Fewer points for a picture, so chosen that it looks the same. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

Point = tuple[float, float]

STRETCHES = 360
"""Stretches of a line, of which each keeps at most four points: a picture has 720 columns."""

HOW = "in each stretch of a line its first, last, lowest and highest point"


def thin(points: Sequence[Point], stretches: int = STRETCHES) -> list[Point]:
    """Return the points to draw of one line, in their order.

    The first and last of all, and the first, last, lowest and highest of each stretch stay, so that
    no spike and no gap is lost.

    Args:
        points: In the order of the line.
        stretches: Into how many it is cut, of equal numbers of points.
    """
    if len(points) <= 4 * stretches:
        return list(points)
    kept: list[Point] = []
    for number in range(stretches):
        begin = number * len(points) // stretches
        end = (number + 1) * len(points) // stretches
        each = range(begin, end)
        low = min(each, key=lambda at: points[at][1])
        high = max(each, key=lambda at: points[at][1])
        kept += [points[at] for at in sorted({begin, low, high, end - 1})]
    return kept
