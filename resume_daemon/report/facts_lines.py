"""What a report says beside its table, in lines for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resume_daemon.report.html import checkpoints, curriculum, drift, step_pairs
from resume_daemon.report.plain import plain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resume_daemon.report.html.facts import Facts


def facts_lines(facts: Facts) -> list[str]:
    """Return what each picture of the page says in words, and what is wrong now."""
    return [plain(line) for line in _lines(facts)]


def _lines(facts: Facts) -> Iterator[str]:
    yield f"checkpoints: {checkpoints.picture(facts).said}"
    yield f"steps: {step_pairs.picture(facts).said}"
    yield f"drift: {drift.picture(facts).said}"
    for each in curriculum.pictures(facts):
        yield f"curriculum: {each.said}"
    for firing in facts.firing:
        yield f"{firing.code} {firing.severity}: {firing.message}"
    for doubt in facts.doubts:
        yield f"not certain: {doubt}"
