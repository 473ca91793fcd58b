"""The page of every layout, made from the layouts themselves: ``--write`` renews it."""

from __future__ import annotations

import sys
from dataclasses import fields
from pathlib import Path

from resume_daemon.layouts.base import Facts
from resume_daemon.layouts.registry import own_layouts
from resume_daemon.report.generated import print_or_write

PAGE = Path("docs") / "layouts.md"

_HEAD = """\
# Layouts

The shapes that trainers give their checkpoints on disk, as `resume-daemon` knows them. A checkpoint
is complete when its required set is there and nothing has changed for `watch.settle_seconds`.

Where the files of a checkpoint fit several layouts: those whose names fit come before those whose
names do not; of these, one that another beats is left out; of the rest the first in the order of
this page counts. A run may hold checkpoints of several layouts. A directory whose name is not
distinctive, such as a plain number, is a checkpoint only with the files of a layout that gives such
names.

How to add one without touching this project: [adding-a-layout.md](adding-a-layout.md).

This page is generated from the code (`make docs`); a test keeps it current.
"""


def page() -> str:
    """Return the page as Markdown."""
    parts = [_HEAD]
    parts.append("\n| layout | written by | names |\n| --- | --- | --- |\n")
    for layout in own_layouts():
        # In a table a bar would end the cell.
        names = ", ".join(f"`{each}`" for each in layout.shown_names()).replace("|", "\\|")
        parts.append(f"| [{layout.name}](#{layout.name}) | {layout.facts.written_by} | {names} |\n")
    for layout in own_layouts():
        parts.append(f"\n## {layout.name}\n\n")
        for field in fields(Facts):
            title = field.name.replace("_", " ").capitalize()
            parts.append(f"- **{title}**: {getattr(layout.facts, field.name)}.\n")
        if layout.beats:
            parts.append(f"- **Beats**: {', '.join(layout.beats)}.\n")
        if not layout.distinctive:
            parts.append("- **The name alone** is not distinctive.\n")
        if not layout.number_is_step:
            parts.append("- **The number in the name** is not the trainer's step.\n")
    return "".join(parts)


if __name__ == "__main__":
    print_or_write(PAGE, page(), sys.argv[1:])
