"""The demo's last words: what was done, what the daemon saw, and what to try next."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text

from resume_daemon.demo.outcome import HALF_WRITTEN, RESUMED_FROM, REWRITTEN, ZEROED, drifts
from resume_daemon.report.console import SEVERITY_STYLES, VERDICT_STYLES, checkpoint_table
from resume_daemon.report.rows import newest_sound, rows

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import RenderableType

    from resume_daemon.demo.outcome import Alerts
    from resume_daemon.ledger.queries import RunState


def summary(
    state: RunState,
    alerts: Alerts,
    *,
    records: int,
    differences: Sequence[str],
    home: Path,
    run: Path,
    sidecar: Path,
) -> Iterator[RenderableType]:
    """Yield the lines of the summary.

    Args:
        state: The ledger's fold.
        alerts: How many were delivered.
        records: Records of the ledger.
        differences: What was recorded otherwise than it was done.
        home: The demo's directory.
        run: The run in it.
        sidecar: The daemon's own files.
    """
    yield checkpoint_table(state)
    yield _title("What was done")
    yield Text(f"  Trainer 1 was killed (SIGKILL) while it wrote {HALF_WRITTEN}.")
    yield Text(
        f"  Trainer 2 resumed from {RESUMED_FROM} and wrote {REWRITTEN} over; W&B's run and the "
        "curriculum went on from where trainer 1 had left them."
    )
    yield Text(f"  The second half of the weights of {ZEROED} was filled with zeros.")
    yield _title("What the daemon saw")
    for row in rows(state):
        line = Text(f"  {row.checkpoint} is ")
        line.append(row.verdict, style=VERDICT_STYLES.get(row.verdict, ""))
        yield line.append(f": {row.why}" if row.why else "")
    for condition in drifts(state):
        yield Text(f"  W&B's step drifted by {condition.drift} rows. {condition.message}")
    yield from _other_conditions(state)
    yield Text(
        f"  {alerts.arrived} alerts arrived at the webhook, each with a right signature; the "
        f"ledger holds {records} records."
    )
    best = newest_sound(state)
    yield Text(f"Resume from {best}." if best else "There is no sound checkpoint.", style="bold")
    yield Text(
        f"  transformers' get_last_checkpoint, which looks at names alone, takes {ZEROED}, and "
        "trains on without a word."
    )
    yield _title("Try")
    for command in ("status", "ledger verify", "snapshots list"):
        yield Text(f"  {_program()} {command} {shlex.quote(str(run))}")
    yield Text(f"The daemon's files are in {sidecar}, the logs of all processes in {home}.")
    yield Text(f"To delete all of it: rm -r {shlex.quote(str(home))}")
    if differences:
        yield Text("The daemon did not record what was done:", style=SEVERITY_STYLES["error"])
        yield from (Text(f"  {difference}") for difference in differences)
    else:
        yield Text("The daemon recorded exactly what was done.", style="bold green")


def _other_conditions(state: RunState) -> Iterator[Text]:
    """Yield what fires beside verdicts and drift, which have been told."""
    told = {condition.key for condition in drifts(state)}
    for key, firing in state.firing.items():
        if key not in told and firing.condition.checkpoint not in state.checkpoints:
            yield Text(f"  {firing.condition.message}")


def _title(text: str) -> Text:
    return Text(text, style="bold")


def _program() -> str:
    """Return how this very program is called again, from where it was called."""
    called = sys.argv[0]
    if shutil.which("resume-daemon"):
        return "resume-daemon"
    if Path(called).name == "resume-daemon":
        return shlex.quote(called)
    return f"{shlex.quote(sys.executable)} -m resume_daemon"
