"""The picture of the checkpoints: a lane for each verdict, a mark for each checkpoint. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from resume_daemon.report.html.markup import table, tag, text
from resume_daemon.report.html.picture import LEFT, RIGHT, Picture, drawing, newest, step_axis
from resume_daemon.report.html.scale import scale

if TYPE_CHECKING:
    from resume_daemon.report.html.facts import Facts
    from resume_daemon.report.rows import Row

_LANE: Final = 34
_TOP: Final = 20
_NAME: Final = "checkpoints"
_TITLE: Final = "Checkpoints"
_MAX_MARKS: Final = 2000

ORDER: Final[tuple[str, ...]] = ("sound", "degraded", "unsound", "incomplete", "rotated")
"""Verdicts from the best down; others come last."""


def picture(facts: Facts) -> Picture:
    """Return the picture of the checkpoints."""
    if not facts.checkpoints:
        said = (
            "No checkpoint was recorded: none was saved yet, or no daemon has watched the run. "
            "`resume-daemon verify` judges those that are there."
        )
        return Picture(_NAME, _TITLE, said)
    present = {row.verdict for row in facts.checkpoints}
    lanes = [each for each in ORDER if each in present] + sorted(present - set(ORDER))
    said = _said(facts, lanes)
    placed = [row for row in facts.checkpoints if row.step is not None]
    drawn = placed[-_MAX_MARKS:]
    bottom = _TOP + _LANE * len(lanes)
    x = scale([facts.highest_step()], LEFT, RIGHT, zero=True)
    parts = []
    for number, verdict in enumerate(lanes):
        at = _TOP + _LANE * (number + 0.5)
        parts.append(tag("line", x1=LEFT, x2=RIGHT, y1=at, y2=at, class_="grid"))
        parts.append(tag("text", text(verdict), x=LEFT - 12, y=at + 4, class_="tick y lane"))
        parts += [
            _mark(row, x.at(row.step or 0), at, best=row.checkpoint == facts.newest_sound)
            for row in drawn
            if row.verdict == verdict
        ]
    axis = step_axis(x, _TOP, bottom, "the trainer's step")
    svg = drawing(_NAME, _TITLE, said, bottom + 50, axis, *parts)
    rows, cut = newest([_row(each) for each in facts.checkpoints])
    if len(drawn) < len(placed):
        cut = (*cut, f"The newest {len(drawn):,} of {len(placed):,} checkpoints are drawn.")
    headers = ["checkpoint", "verdict", "step", "stage", "W&B", "drift", "why"]
    return Picture(_NAME, _TITLE, said, svg, cut, table(headers, rows, "Checkpoints"))


def _said(facts: Facts, lanes: list[str]) -> str:
    counts = [f"{sum(r.verdict == v for r in facts.checkpoints)} {v}" for v in lanes]
    count = len(facts.checkpoints)
    found = f"{count:,} checkpoint{'s' if count > 1 else ''}: {', '.join(counts)}."
    if facts.newest_sound is None:
        return f"{found} None of them is sound."
    return f"{found} The newest sound one is {facts.newest_sound}."


def _mark(row: Row, x: float, y: float, *, best: bool) -> str:
    words = f"{row.checkpoint}: {row.verdict}" + (f". {row.why}" if row.why else "")
    ring = '<circle r="11" class="ring"/>' if best else ""
    shape = _SHAPES.get(row.verdict, _DOT)
    known = row.verdict if row.verdict in _SHAPES else "other"
    return tag(
        "g",
        tag("title", text(words)),
        ring,
        shape,
        transform=f"translate({x:g} {y:g})",
        class_=f"verdict {known}",
    )


_DOT: Final = '<circle r="3"/>'
_SHAPES: Final = {
    "sound": '<circle r="6"/>',
    "degraded": '<path d="M0 -7 L7 5 H-7 Z"/>',
    "unsound": '<path d="M-6 -6 L6 6 M6 -6 L-6 6" class="cross"/>',
    "incomplete": '<rect x="-5" y="-5" width="10" height="10" class="hollow"/>',
    "rotated": _DOT,
}
"""Each verdict has a shape of its own: not everybody tells colours apart, and no printer does."""


def _row(row: Row) -> list[str]:
    at = "" if row.curriculum_step is None else f" @{row.curriculum_step}"
    return [
        row.checkpoint,
        row.verdict,
        "-" if row.step is None else str(row.step),
        "-" if row.stage is None else f"{row.stage}{at}",
        "-" if row.tracker_step is None else str(row.tracker_step),
        "-" if row.drift is None else str(row.drift),
        row.why,
    ]
