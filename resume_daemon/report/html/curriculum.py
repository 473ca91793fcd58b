"""The picture of a curriculum: its stage, and how well it went, over the steps. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from resume_daemon.report.html.facts import OPTIMIZER_STEPS
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
from resume_daemon.report.html.scale import number_words, scale
from resume_daemon.report.html.thinning import HOW, thin

if TYPE_CHECKING:
    from collections.abc import Sequence

    from resume_daemon.report.html.facts import Curriculum, Drift, Facts, StageMark
    from resume_daemon.report.html.scale import Scale

_PANEL: Final = 150
_LANE: Final = 26
_MAX_LANES: Final = 12
_CURRICULUM: Final = "RD5"
_TITLE: Final = "Curriculum"

Points = list[tuple[float, float]]


def pictures(facts: Facts) -> list[Picture]:
    """Return a picture for each curriculum file, or one that says that there is none."""
    if not facts.curricula:
        said = (
            "There is no curriculum: no state file was found in the run, and none was recorded. "
            "A run without a curriculum lacks nothing by that."
        )
        return [Picture("curriculum", _TITLE, said)]
    drifts = [each for each in facts.drifts if each.code.startswith(_CURRICULUM)]
    return [
        _picture(facts, each, [d for d in drifts if each.file in d.key], number)
        for number, each in enumerate(facts.curricula, 1)
    ]


def _picture(facts: Facts, found: Curriculum, drifts: Sequence[Drift], number: int) -> Picture:
    name = "curriculum" if number == 1 else f"curriculum-{number}"
    title = _TITLE if len(facts.curricula) == 1 else f"{_TITLE}: {found.file}"
    stages = _stages(found)
    said = _said(found, stages)
    own = found.unit != OPTIMIZER_STEPS
    steps = [m.step for m in found.marks] + [e.step for e in found.performances]
    x = scale([max(steps, default=0) if own else facts.highest_step()], LEFT, RIGHT, zero=True)
    notes: list[str] = []
    parts: list[str] = []
    top = 34
    if found.performances:
        parts += _performance(found, x, top, notes)
        top += _PANEL + 46
    bottom = top
    if found.marks:
        bottom, panel = _lanes(found, stages, x, top, notes)
        parts += panel
    else:
        bottom = top - 46
    lead = 34
    if not own:
        parts += [_event(each, x, lead, bottom) for each in drifts if each.trainer_step is not None]
    unit = "the trainer's step" if not own else f"its own step ({found.unit})"
    axis = step_axis(x, lead, bottom, unit)
    svg = drawing(name, title, said, bottom + 50, axis, *parts)
    if found.left_out:
        notes.append(f"{found.left_out} entries without a step or a finite value are left out.")
    rows, cut = newest([[str(m.step), m.stage] for m in _changes(found)])
    shown = table(["step", "stage"], rows, "Where the stage changed") if rows else ""
    return Picture(name, title, said, _key(found, drifts) + svg, (*notes, *cut), shown)


def _stages(found: Curriculum) -> list[str]:
    """Return the stages in their order: of numbers by size, else by first appearance."""
    names = list(dict.fromkeys(mark.stage for mark in found.marks))
    if all(name.isdecimal() for name in names):
        return sorted(names, key=int)
    return names


def _said(found: Curriculum, stages: list[str]) -> str:
    sentences = [f"From {found.file}."]
    if found.marks:
        last = found.marks[-1]
        count = "one stage" if len(stages) == 1 else f"{len(stages)} stages"
        sentences.append(
            f"{count.capitalize()} seen; now in stage {last.stage}, at step {last.step:,}."
        )
    else:
        sentences.append("Its stage was not recorded over time: no daemon has watched it.")
    if found.performances:
        last_entry = found.performances[-1]
        sentences.append(
            f"Its newest state remembers {len(found.performances):,} evaluations, the last "
            f"{number_words(last_entry.value)} at step {last_entry.step:,}."
        )
    else:
        sentences.append("It holds no history of performance that is understood here.")
    return " ".join(sentences)


def _performance(found: Curriculum, x: Scale, top: int, notes: list[str]) -> list[str]:
    bottom = top + _PANEL
    y = scale([each.value for each in found.performances], bottom, top)
    parts = [value_axis(y, LEFT, RIGHT, "performance")]
    lines = _forward([(float(each.step), each.value) for each in found.performances])
    drawn = 0
    for number, points in enumerate(lines, 1):
        kept = thin(points)
        drawn += len(kept)
        style = "series" if number == len(lines) else "series earlier"
        parts.append(line([(x.at(step), y.at(value)) for step, value in kept], style))
    if drawn < len(found.performances):
        notes.append(f"{drawn:,} of {len(found.performances):,} evaluations are drawn: {HOW}.")
    return parts


def _lanes(
    found: Curriculum, stages: list[str], x: Scale, top: int, notes: list[str]
) -> tuple[int, list[str]]:
    """Return where the lanes end, and the stage over the steps as stairs."""
    each = min(_LANE, max(_LANE * _MAX_LANES // len(stages), 1))
    bottom = top + max(each * len(stages), _LANE)
    places = {stage: bottom - each * (n + 0.5) for n, stage in enumerate(stages)}
    every = -(-len(stages) // _MAX_LANES)
    parts = [tag("text", "stage", x=8, y=top - 12, class_="label")]
    for number, (stage, at) in enumerate(places.items()):
        if number % every == 0:
            parts.append(tag("line", x1=LEFT, x2=RIGHT, y1=at, y2=at, class_="grid"))
            parts.append(
                tag(
                    "text",
                    tag("title", text(stage)),
                    text(_short(stage)),
                    x=LEFT - 8,
                    y=at + 4,
                    class_="tick y",
                )
            )
    lines = _forward([(float(m.step), places[m.stage]) for m in found.marks])
    drawn = 0
    for number, points in enumerate(lines, 1):
        kept = thin(points)
        drawn += len(kept)
        style = "series stairs" if number == len(lines) else "series stairs earlier"
        parts.append(line(_stairs([(x.at(step), at) for step, at in kept]), style))
    if drawn < len(found.marks):
        notes.append(f"{drawn:,} of {len(found.marks):,} states are drawn: {HOW}.")
    if every > 1:
        notes.append(f"{len(stages)} stages are drawn; one in {every} is named.")
    return bottom, parts


def _forward(points: Points) -> list[Points]:
    """Return the points cut where the step goes back: there an earlier state was resumed from."""
    lines: list[Points] = []
    for point in points:
        if not lines or point[0] < lines[-1][-1][0]:
            lines.append([])
        lines[-1].append(point)
    return lines


def _stairs(points: Points) -> Points:
    """Return a stage that holds until the next one, as a line with right angles."""
    found = points[:1]
    for at, height in points[1:]:
        if height != found[-1][1]:
            found.append((at, found[-1][1]))
        found.append((at, height))
    return found


def _changes(found: Curriculum) -> list[StageMark]:
    """Return the marks at which the stage became another one, or the step went back."""
    kept: list[StageMark] = []
    before: StageMark | None = None
    for mark in found.marks:
        if before is None or mark.stage != before.stage or mark.step < before.step:
            kept.append(mark)
        before = mark
    return kept


def _event(drift: Drift, x: Scale, top: int, bottom: int) -> str:
    at = min(max(x.at(drift.trainer_step or 0), x.start), x.end)
    return tag(
        "line",
        tag("title", text(drift.message)),
        x1=at,
        x2=at,
        y1=top,
        y2=bottom,
        class_="event",
    )


def _key(found: Curriculum, drifts: Sequence[Drift]) -> str:
    items = [('<line x1="0" x2="16" y1="6" y2="6" class="series"/>', "since the last resume")]
    backward = len(_forward([(float(m.step), 0.0) for m in found.marks])) > 1
    backward = backward or len(_forward([(float(e.step), 0.0) for e in found.performances])) > 1
    if backward:
        earlier = '<line x1="0" x2="16" y1="6" y2="6" class="series earlier"/>'
        items.append((earlier, "before"))
    if any(each.trainer_step is not None for each in drifts):
        event = '<line x1="8" x2="8" y1="0" y2="12" class="event"/>'
        items.append((event, "the curriculum was not in step with the checkpoint"))
    return legend(items) if len(items) > 1 else ""


def _short(stage: str) -> str:
    return stage if len(stage) <= _SHORT else f"{stage[: _SHORT - 1]}…"


_SHORT: Final = 13
