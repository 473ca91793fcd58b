"""The picture in the README, made from a demo that was really played.

``python -m resume_daemon.demo.picture RUN FILE.svg``, where RUN is the run of a finished demo.
"""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

from resume_daemon.demo.ledger_view import LedgerView
from resume_daemon.report.console import checkpoint_table, condition_lines
from resume_daemon.report.rows import newest_sound

WIDTH = 116


def picture(run: Path) -> str:
    """Return the final screen of a demo as SVG."""
    view = LedgerView(run / ".resume_daemon" / "ledger.jsonl")
    view.update()
    console = Console(record=True, width=WIDTH, file=io.StringIO(), highlight=False)
    console.print(Text("$ make demo", style="bold"))
    console.print(checkpoint_table(view.state))
    for line in condition_lines(view.state):
        console.print(line)
    console.print(Text(f"Resume from {newest_sound(view.state)}.", style="bold green"))
    svg = console.export_svg(title="resume-daemon demo")
    # No fonts from elsewhere: a picture in a README must load nothing.
    return re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(picture(Path(sys.argv[1])), encoding="utf-8")
