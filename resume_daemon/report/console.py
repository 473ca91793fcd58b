"""Tables and lines for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from resume_daemon.report.plain import plain
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


def narrow_table(*headers: str) -> Table:
    """Return a table without lines: two spaces part its columns."""
    return Table(*headers, box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))


def checkpoint_table(state: RunState, *, last: int | None = None) -> Table:
    """Return the table of checkpoints: verdict, curriculum, steps, drift, why.

    The reason is last: in 80 columns it has what room the others leave.

    Args:
        state: The ledger's fold.
        last: Only so many of the newest, with a line for each; None shows all, in full.
    """
    return rows_table(rows(state)[-last if last else None :], short=bool(last))


def rows_table(shown: Sequence[Row], *, short: bool = False) -> Table:
    """Return the table of some checkpoints.

    Args:
        shown: The rows.
        short: Each in one line; otherwise in full.
    """
    table = narrow_table()
    table.add_column("checkpoint", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for name in ("stage", "W&B", "trainer", "drift"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("why", overflow="fold")
    for row in shown:
        table.add_row(
            plain(row.checkpoint),
            verdict_text(row.verdict),
            plain(_stage(row)),
            _number(row.tracker_step),
            _number(row.trainer_step),
            Text(_number(row.drift), style="bold red" if row.drift else ""),
            # In the cell: a column that may not wrap would take its room from all others.
            Text(plain(row.why), no_wrap=short, overflow="ellipsis" if short else "fold"),
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
        line.append(plain(finding.message))
        lines.append(line)
        if finding.severity.value != "info" and finding.hint:
            lines.append(Text(f"        {plain(finding.hint)}", style="dim"))
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
        line.append(plain(condition.message))
        lines.append(line)
    return lines
