"""The page of every finding code, made from the catalog: ``python -m ... --write`` renews it."""

from __future__ import annotations

import sys
from itertools import groupby
from pathlib import Path

from resume_daemon.catalog import THEMES, codes
from resume_daemon.report.generated import print_or_write

PAGE = Path("docs") / "findings.md"

_HEAD = """\
# Findings

Every code that `resume-daemon` reports, what it means, and what to do;
`resume-daemon explain RD201` prints the same. Codes are never reused. An **error** makes a
checkpoint `unsound` (do not resume from it), a **warning** `degraded` (it resumes, but something is
lost or doubtful), an **info** is said and changes nothing.

This page is generated from the code (`make docs`); a test keeps it current.
"""


def page() -> str:
    """Return the page as Markdown."""
    parts = [_HEAD]
    for theme, group in groupby(codes().values(), key=lambda code: code.id[2]):
        parts.append(f"\n## {THEMES[theme]}\n")
        for code in group:
            parts.append(f"\n### {code.id} {code.name}\n\n")
            parts.append(f"**{code.title}** ({code.severity.value})\n\n{code.meaning}\n\n")
            parts.append(f"*What to do:* {code.action}\n")
            if code.source:
                parts.append(f"\n*Source:* {code.source}\n")
    return "".join(parts)


if __name__ == "__main__":
    print_or_write(PAGE, page(), sys.argv[1:])
