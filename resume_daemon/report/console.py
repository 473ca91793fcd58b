"""Tables and lines for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from resume_daemon.report.rows import rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from resume_daemon.findings import Finding
    from resume_daemon.ledger.queries import RunState
    from resume_daemon.report.rows import Row

VERDICT_STYLES = {
    "sound": "green",
    "degraded": "yellow",
    "unsound": "bold red",
    "incomplete": "magenta",
    "rotated": "dim",
    "settling": "cyan",
    "verifying": "cyan",
}
SEVERITY_STYLES = {"error": "bold red", "warning": "yellow", "info": "dim"}


def verdict_text(verdict: str) -> Text:
    """Return a verdict in its colour; the word alone says it too."""
    return Text(verdict, style=VERDICT_STYLES.get(verdict, ""))


def checkpoint_table(state: RunState, *, title: str = "", last: int | None = None) -> Table:
    """Return the table of checkpoints: verdict, why, curriculum, steps, drift.

    Args:
        state: The ledger's fold.
        title: Above the table.
        last: Only so many of the newest; None shows all.
    """
    table = Table(title=title or None, title_justify="left", expand=False, pad_edge=False)
    table.add_column("checkpoint", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    table.add_column("why", ratio=1, overflow="fold")
    table.add_column("stage", justify="right", no_wrap=True)
    table.add_column("W&B step", justify="right", no_wrap=True)
    table.add_column("trainer", justify="right", no_wrap=True)
    table.add_column("drift", justify="right", no_wrap=True)
    found = rows(state)
    for row in found[-last:] if last else found:
        table.add_row(
            row.checkpoint,
            verdict_text(row.verdict),
            row.why,
            _stage(row),
            _number(row.tracker_step),
            _number(row.trainer_step),
            Text(_number(row.drift), style="bold red" if row.drift else ""),
        )
    return table


def finding_lines(findings: Sequence[Finding]) -> list[Text]:
    """Return a line per finding: code, severity, message, and the hint below what needs one."""
    lines = []
    for finding in findings:
        style = SEVERITY_STYLES[finding.severity.value]
        line = Text("  ")
        line.append(f"{finding.code} ", style="bold")
        line.append(f"{finding.severity.value}: ", style=style)
        line.append(finding.message)
        lines.append(line)
        if finding.severity.value != "info" and finding.hint:
            lines.append(Text(f"        {finding.hint}", style="dim"))
    return lines


def _stage(row: Row) -> str:
    if row.stage is None and row.curriculum_step is None:
        return "-"
    at = f" @{row.curriculum_step}" if row.curriculum_step is not None else ""
    return f"{row.stage if row.stage is not None else '?'}{at}"


def _number(value: int | None) -> str:
    return "-" if value is None else str(value)


def condition_lines(state: RunState) -> list[Text]:
    """Return a line per condition that fires now."""
    lines = []
    for firing in state.firing.values():
        condition = firing.condition
        line = Text()
        line.append(f"{condition.code} ", style="bold")
        line.append(
            f"{condition.severity.value}: ", style=SEVERITY_STYLES[condition.severity.value]
        )
        line.append(condition.message)
        lines.append(line)
    return lines
