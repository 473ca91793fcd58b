"""The picture of drift: how many of W&B's rows are stale, and at which step that began. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from resume_daemon.catalog import codes
from resume_daemon.report.html.markup import table, tag, text
from resume_daemon.report.html.picture import (
    LEFT,
    RIGHT,
    Picture,
    drawing,
    legend,
    newest,
    step_axis,
    value_axis,
)
from resume_daemon.report.html.scale import number_words, scale

if TYPE_CHECKING:
    from resume_daemon.report.html.facts import Drift, Facts
    from resume_daemon.report.html.scale import Scale

_TOP, _BOTTOM, _HEIGHT = 34, 200, 250
_NAME: Final = "drift"
_TITLE: Final = "Drift"
_TRACKER: Final = "RD6"
_MAX_MARKS: Final = 200
_PLACED: Final = 4
_NAMED: Final = 30
"""Marks up to which their step, and their amount, stand beside them."""
_CHARACTER: Final = 7
"""Width of a character beside a mark."""


def picture(facts: Facts) -> Picture:
    """Return the picture of W&B's drift; that of the curriculum stands in its own."""
    found = [each for each in facts.drifts if each.code.startswith(_TRACKER)]
    if not found:
        said = (
            "No drift was recorded: W&B's steps and the trainer's went together."
            if facts.pairs
            else "Nothing can be said of drift: no step pair was recorded."
        )
        return Picture(_NAME, _TITLE, said)
    firing = sum(each.until is None for each in found)
    said = f"{_said(len(found), firing)} {found[-1].message}"
    rows, cut = newest([_row(each) for each in found])
    headers = ["since", "until", "trainer", "rows", "what", "message"]
    shown = table(headers, rows, "Drift between W&B's step and the trainer's")
    placed = [d for d in found if d.trainer_step is not None and d.amount is not None]
    if not placed:
        return Picture(_NAME, _TITLE, said, "", cut, shown)
    drawn = placed[-_MAX_MARKS:]
    highest = max(facts.highest_step(), *(each.trainer_step or 0 for each in drawn))
    x = scale([highest], LEFT, RIGHT, zero=True)
    y = scale([each.amount or 0 for each in drawn], _BOTTOM, _TOP, zero=True)
    svg = drawing(
        _NAME,
        _TITLE,
        said,
        _HEIGHT,
        value_axis(y, LEFT, RIGHT, "rows of W&B", whole=True),
        step_axis(x, _TOP, _BOTTOM, "the trainer's step"),
        *(_mark(each, x, y, _words(each, len(drawn))) for each in drawn),
    )
    key = legend(
        [
            ('<circle cx="8" cy="6" r="5" class="firing"/>', "fires now"),
            ('<circle cx="8" cy="6" r="5" class="resolved"/>', "over"),
        ]
    )
    if len(placed) > len(drawn):
        cut = (*cut, f"The newest {len(drawn)} of {len(placed)} are drawn.")
    return Picture(_NAME, _TITLE, said, key + svg, cut, shown)


def _words(drift: Drift, among: int) -> str:
    """Return what stands beside a mark: the fewer there are, the more."""
    if among > _NAMED:
        return ""
    amount = number_words(drift.amount or 0)
    return amount if among > _PLACED else f"{amount} at step {drift.trainer_step}"


def _mark(drift: Drift, x: Scale, y: Scale, words: str) -> str:
    amount = drift.amount or 0
    place, height = x.at(drift.trainer_step or 0), y.at(amount)
    state = "firing" if drift.until is None else "resolved"
    # At the right end there is room on the left side only.
    side = "tick end" if place + 9 + _CHARACTER * len(words) > RIGHT else "tick"
    return "".join(
        (
            tag("line", x1=place, x2=place, y1=y.at(0), y2=height, class_=f"stem {state}"),
            tag(
                "circle",
                tag("title", text(drift.message)),
                cx=place,
                cy=height,
                r=5,
                class_=state,
            ),
            tag(
                "text",
                text(words),
                x=place + (-9 if "end" in side else 9),
                y=height + 4,
                class_=f"{side} strong",
            ),
        )
    )


def _row(drift: Drift) -> list[str]:
    code = codes().get(drift.code)
    return [
        f"{drift.since:%Y-%m-%d %H:%M}",
        "fires now" if drift.until is None else f"{drift.until:%Y-%m-%d %H:%M}",
        "-" if drift.trainer_step is None else str(drift.trainer_step),
        "-" if drift.amount is None else str(drift.amount),
        f"{drift.code} {code.title}" if code is not None else drift.code,
        drift.message,
    ]


def _said(count: int, firing: int) -> str:
    if count == 1:
        return f"Drift began once, and {'fires still' if firing else 'is over'}."
    still = "none of them fires" if not firing else f"{firing} of them fire{'s' * (firing == 1)}"
    return f"Drift began {count} times; {still} now. The newest:"
