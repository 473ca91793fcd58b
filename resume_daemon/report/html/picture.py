"""What all pictures have in common: a frame with axes, a legend, and the same as a table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from resume_daemon.report.html.markup import tag, text
from resume_daemon.report.html.scale import Scale, number_words, ticks

if TYPE_CHECKING:
    from collections.abc import Sequence

WIDTH: Final = 760
LEFT: Final = 96
RIGHT: Final = 744
"""Where the data begin and end, in units of the picture."""

MAX_ROWS: Final = 200
"""Rows of a table beside a picture; the newest are shown."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture with all that belongs to it; ``svg`` and ``table`` are markup.

    Attributes:
        name: For links, of letters and dashes.
        title: Its heading.
        said: What it shows, in words: the first thing to read.
        svg: The picture; empty where there is nothing to draw, and then ``said`` tells why.
        notes: How it was made, in sentences.
        table: The same as a table, or an empty string.
    """

    name: str
    title: str
    said: str
    svg: str = ""
    notes: tuple[str, ...] = ()
    table: str = ""


def drawing(name: str, title: str, description: str, height: int, *inner: str) -> str:
    """Return a picture that says in words what it shows to those who cannot see it."""
    return tag(
        "svg",
        tag("title", text(title), id=f"{name}-title"),
        tag("desc", text(description), id=f"{name}-description"),
        *inner,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {WIDTH} {height}",
        role="img",
        aria_labelledby=f"{name}-title {name}-description",
    )


def step_axis(x: Scale, top: float, bottom: float, label: str) -> str:
    """Return the axis of steps below the data, and its fine lines."""
    parts = []
    for value in ticks(x.low, x.high, most=8, whole=True):
        at = x.at(value)
        parts.append(tag("line", x1=at, x2=at, y1=top, y2=bottom, class_="grid"))
        parts.append(tag("text", text(number_words(value)), x=at, y=bottom + 18, class_="tick x"))
    parts.append(tag("line", x1=x.start, x2=x.end, y1=bottom, y2=bottom, class_="axis"))
    parts.append(tag("text", text(label), x=x.end, y=bottom + 38, class_="label end"))
    return "".join(parts)


def value_axis(y: Scale, left: float, right: float, label: str, *, whole: bool = False) -> str:
    """Return the axis of values left of the data, and its fine lines."""
    parts = []
    for value in ticks(y.low, y.high, most=5, whole=whole):
        at = y.at(value)
        parts.append(tag("line", x1=left, x2=right, y1=at, y2=at, class_="grid"))
        shown = text(number_words(value))
        parts.append(tag("text", shown, x=left - 8, y=at + 4, class_="tick y"))
    parts.append(tag("text", text(label), x=8, y=y.end - 12, class_="label"))
    return "".join(parts)


_DENSE: Final = 300
"""Points from which on a line is drawn thin, or a noisy one would be a band."""


def line(points: Sequence[tuple[float, float]], style: str) -> str:
    """Return a line through points of the picture; a single one is a dot."""
    if len(points) > _DENSE:
        style = f"{style} dense"
    if len(points) == 1:
        return tag("circle", cx=points[0][0], cy=points[0][1], r=2, class_=f"{style} dot")
    path = " ".join(f"{x:g},{y:g}" for x, y in points)
    return tag("polyline", points=path, class_=style)


def legend(items: Sequence[tuple[str, str]]) -> str:
    """Return what the marks mean: markup of a mark of 16 by 12 units, and its words."""
    return tag(
        "ul",
        *(
            tag(
                "li",
                tag("svg", mark, viewBox="0 0 16 12", class_="key", aria_hidden="true"),
                text(words),
            )
            for mark, words in items
        ),
        class_="legend",
    )


def newest(rows: Sequence[list[str]]) -> tuple[list[list[str]], tuple[str, ...]]:
    """Return the rows that a table shows, and a note where these are not all."""
    if len(rows) <= MAX_ROWS:
        return list(rows), ()
    return list(rows[-MAX_ROWS:]), (f"The table has the newest {MAX_ROWS} of {len(rows):,} rows.",)
