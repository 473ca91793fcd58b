"""The report as one page: it needs no network, no script and no other file. Pure."""

from __future__ import annotations

import os
import shlex
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Final

from resume_daemon import __version__
from resume_daemon.report.html import checkpoints, curriculum, drift, step_pairs
from resume_daemon.report.html.markup import prose, tag, text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from resume_daemon.findings import Finding
    from resume_daemon.report.html.facts import Facts, Theme
    from resume_daemon.report.html.picture import Picture

MARK: Final = "<!-- a report of resume-daemon -->"
"""By which a report is known to be one; ``writing`` replaces nothing else."""

_SHOWN: Final = 50
"""Conditions that are shown."""


def page(facts: Facts, themes: Sequence[Theme] = ()) -> str:
    """Return the page.

    Args:
        facts: What is known of the run.
        themes: What somebody else found out, such as ``doctor``; shown first.
    """
    name = os.path.basename(facts.run) or facts.run  # noqa: PTH119 - it is text, of any system
    pictures = [
        checkpoints.picture(facts),
        step_pairs.picture(facts),
        drift.picture(facts),
        *curriculum.pictures(facts),
    ]
    body = tag(
        "main",
        tag(
            "header",
            tag("h1", text(name)),
            tag("p", text(facts.run), class_="where"),
        ),
        _answer(facts),
        _firing(facts),
        *_themes(themes),
        *(_picture(each) for each in pictures),
        _footer(facts),
    )
    head = tag(
        "head",
        '<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        # Nothing of what stands in the page can load or run anything.
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'\">",
        tag("title", text(f"{name}: report of resume-daemon")),
        f"<style>{_style()}</style>",
    )
    return f'<!DOCTYPE html>\n{MARK}\n<html lang="en">{head}{tag("body", body)}</html>\n'


@cache
def _style() -> str:
    return (files("resume_daemon.report.html") / "style.css").read_text("utf-8")


def _answer(facts: Facts) -> str:
    """Return what a tired person wants to know first."""
    counts: dict[str, int] = {}
    for row in facts.checkpoints:
        counts[row.verdict] = counts.get(row.verdict, 0) + 1
    tiles = [(str(counts[v]), v) for v in checkpoints.ORDER if v in counts]
    tiles += [(str(len(facts.firing)), "wrong now")] if facts.records is not None else []
    shown = tag(
        "ul",
        *(tag("li", tag("b", text(number)), text(words)) for number, words in tiles),
        class_="tiles",
    )
    if facts.newest_sound is not None:
        how = f'eval "$(resume-daemon env {shlex.quote(facts.run)})"'
        said = tag("strong", text(f"Resume from {facts.newest_sound}"))
        said += tag("p", "the newest sound checkpoint on record: ", tag("code", text(how)))
        return tag("div", said, shown, class_="answer")
    kind = "answer none"
    if facts.records is None:
        kind = "answer unknown"
        why = "No daemon has watched this run"
        hint = f"resume-daemon run {shlex.quote(facts.run)}"
        more = "so nothing is on record; from now on: "
    else:
        why = "Nothing to resume from"
        hint = f"resume-daemon plan {shlex.quote(facts.run)}"
        more = "no checkpoint on record is sound; what can be done: "
    said = tag("strong", text(why)) + tag("p", text(more), tag("code", text(hint)))
    return tag("div", said, shown if tiles else "", class_=kind)


def _firing(facts: Facts) -> str:
    """Return what is wrong now, the gravest first."""
    if facts.records is None:
        return ""
    if not facts.firing:
        fine = tag("p", tag("span", "fine", class_="chip fine"), "Nothing is wrong now.")
        return tag("section", tag("h2", "Wrong now"), fine)
    gravity = {"error": 0, "warning": 1}
    # Those of one gravity stay in the order in which they began.
    ordered = sorted(facts.firing, key=lambda each: gravity.get(each.severity, 2))
    items = [
        tag(
            "li",
            _chip(each.severity, each.code),
            prose(each.message),
            tag("small", text(f"since {each.since:%Y-%m-%d %H:%M} UTC")),
        )
        for each in ordered[:_SHOWN]
    ]
    if more := len(ordered) - len(items):
        items.append(tag("li", text(f"and {more} more: resume-daemon alerts list")))
    return tag("section", tag("h2", "Wrong now"), tag("ul", *items, class_="said"))


def _themes(themes: Sequence[Theme]) -> list[str]:
    """Return a section for each theme with findings, and one for all others together."""
    sections = [
        tag(
            "section",
            tag("h2", text(f"Examined: {each.name}")),
            tag("p", prose(each.summary)),
            tag("ul", *(_finding(finding) for finding in each.findings), class_="said"),
        )
        for each in themes
        if each.findings
    ]
    others = [
        tag("li", tag("b", text(each.name)), " ", prose(each.summary))
        for each in themes
        if not each.findings
    ]
    if others:
        heading = tag("h2", "Examined: no findings")
        sections.append(tag("section", heading, tag("ul", *others, class_="said plain")))
    return sections


def _finding(finding: Finding) -> str:
    # Many a message begins with the file itself.
    known = not finding.file or finding.message.startswith(finding.file)
    file = "" if known else f"{finding.file}: "
    return tag(
        "li",
        _chip(finding.severity.value, finding.code),
        prose(f"{file}{finding.message}"),
        tag("small", prose(finding.hint)) if finding.hint else "",
    )


def _chip(severity: str, code: str) -> str:
    known = severity if severity in {"error", "warning"} else "info"
    return tag("span", text(f"{severity} {code}".strip()), class_=f"chip {known}")


def _picture(picture: Picture) -> str:
    inner = [tag("h2", text(picture.title)), tag("p", prose(picture.said))]
    if picture.svg:
        notes = tag("figcaption", prose(" ".join(picture.notes))) if picture.notes else ""
        inner.append(tag("figure", tag("div", picture.svg), notes))
    if picture.table:
        inner.append(tag("details", tag("summary", "As a table"), picture.table))
    return tag("section", *inner, id=picture.name)


def _footer(facts: Facts) -> str:
    lines = [f"Made {facts.made_at:%Y-%m-%d %H:%M} UTC by resume-daemon {__version__}."]
    if facts.records is not None:
        last = (
            ""
            if facts.last_record is None
            else f", the last of {facts.last_record:%Y-%m-%d %H:%M} UTC"
        )
        lines.append(f"From {facts.records:,} records of the ledger{last}.")
    lines += [f"Not certain: {each}." for each in facts.doubts]
    return tag("footer", *(tag("p", text(line)) for line in lines))
