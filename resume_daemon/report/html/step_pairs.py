"""The picture of the step pairs: W&B's step over the trainer's, a line for each process. Pure."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Final

from resume_daemon.report.html.markup import table, tag, text
from resume_daemon.report.html.picture import (
    LEFT,
    RIGHT,
    Picture,
    drawing,
    legend,
    line,
    newest,
    step_axis,
    value_axis,
)
from resume_daemon.report.html.scale import scale
from resume_daemon.report.html.thinning import HOW, thin

if TYPE_CHECKING:
    from resume_daemon.report.html.facts import Facts, Pair

_TOP, _BOTTOM, _HEIGHT = 34, 290, 340
_NAME: Final = "step-pairs"
_TITLE: Final = "Step pairs"
_MAX_MARKS: Final = 400
_LARGE_MARKS: Final = 40
"""Checkpoints up to which their marks are large: more of them would hide the lines."""


def picture(facts: Facts) -> Picture:
    """Return the picture of the step pairs."""
    if not facts.pairs:
        said = (
            "No step pair was recorded: the trainer does not log to W&B, its log was not found, "
            "or no daemon has watched the run. So nothing can be said of W&B's steps."
        )
        return Picture(_NAME, _TITLE, said)
    processes: dict[str, list[Pair]] = {}
    for pair in facts.pairs:
        processes.setdefault(pair.segment, []).append(pair)
    at_checkpoints = {p.checkpoint: p for p in facts.pairs if p.checkpoint is not None}
    said = _said(facts, processes)
    x = scale([facts.highest_step()], LEFT, RIGHT, zero=True)
    y = scale([p.tracker_step for p in facts.pairs], _BOTTOM, _TOP, zero=True)
    lines, drawn = [], 0
    for number, pairs in enumerate(processes.values(), 1):
        style = "series" if number == len(processes) else "series earlier"
        for run in _rising(sorted({(p.tracker_step, p.trainer_step) for p in pairs})):
            points = thin([(float(t), float(w)) for w, t in run])
            drawn += len(points)
            lines.append(line([(x.at(t), y.at(w)) for t, w in points], style))
    marks = [
        tag(
            "circle",
            tag("title", text(f"{name}: W&B {p.tracker_step}, trainer {p.trainer_step}")),
            cx=x.at(p.trainer_step),
            cy=y.at(p.tracker_step),
            r=4 if len(at_checkpoints) <= _LARGE_MARKS else 1.8,
            class_="mark" if len(at_checkpoints) <= _LARGE_MARKS else "mark small",
        )
        for name, p in list(at_checkpoints.items())[-_MAX_MARKS:]
    ]
    svg = drawing(
        _NAME,
        _TITLE,
        said,
        _HEIGHT,
        value_axis(y, LEFT, RIGHT, "W&B's step", whole=True),
        step_axis(x, _TOP, _BOTTOM, "the trainer's step"),
        *lines,
        *marks,
    )
    rows, cut = newest(
        [
            [name, str(p.trainer_step), str(p.tracker_step), p.segment]
            for name, p in at_checkpoints.items()
        ]
    )
    notes = _notes(facts, len(facts.pairs), drawn) + cut
    shown = table(["checkpoint", "trainer", "W&B", "process"], rows, "Step pairs at checkpoints")
    return Picture(_NAME, _TITLE, said, _key(len(processes)) + svg, notes, shown if rows else "")


def _said(facts: Facts, processes: dict[str, list[Pair]]) -> str:
    last = facts.pairs[-1]
    count = len(processes)
    starts = "one start" if count == 1 else f"{count} starts"
    return (
        f"{len(facts.pairs):,} step pairs of {starts} of the trainer; the newest is W&B "
        f"{last.tracker_step:,} at trainer {last.trainer_step:,}. Where a later line lies above an "
        "earlier one, W&B kept rows of steps that were trained again."
    )


def _rising(pairs: list[tuple[int, int]]) -> list[list[tuple[int, int]]]:
    """Return the pairs of one process cut where its trainer went back."""
    runs = [pairs[:1]]
    for before, now in pairwise(pairs):
        if now[1] < before[1]:
            runs.append([])
        runs[-1].append(now)
    return runs


def _notes(facts: Facts, count: int, drawn: int) -> tuple[str, ...]:
    notes = []
    if drawn < count and count > 4 * len({p.segment for p in facts.pairs}) and drawn < count // 2:
        notes.append(
            f"{drawn:,} of {count:,} pairs are drawn: {HOW}. "
            "`resume-daemon ledger export --kind pair` has all."
        )
    if any(pair.predicted for pair in facts.pairs):
        notes.append(
            "Some of W&B's steps are those that it is expected to assign: the log was not synced."
        )
    return tuple(notes)


def _key(processes: int) -> str:
    items = [('<line x1="0" x2="16" y1="6" y2="6" class="series"/>', "the newest start")]
    if processes > 1:
        earlier = '<line x1="0" x2="16" y1="6" y2="6" class="series earlier"/>'
        items.append((earlier, "earlier starts"))
    items.append(('<circle cx="8" cy="6" r="4" class="mark"/>', "a checkpoint"))
    return legend(items)
