"""``resume-daemon report RUN``: what became of a run, as text, JSON, or a page with pictures."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from resume_daemon.cli.output import JSON_OPTION, console, print_json, say
from resume_daemon.cli.runs import RUN, STATE_DIR, sidecar

if TYPE_CHECKING:
    from resume_daemon.report.html.facts import Facts

_HTML: Path | None = typer.Option(
    None,
    "--html",
    metavar="FILE",
    dir_okay=False,
    readable=False,
    help="Write it as one page with pictures; an older report there is replaced.",
)


def command(
    run: Path = RUN,
    *,
    html: Path | None = _HTML,
    as_json: bool = JSON_OPTION,
    state_dir: Path | None = STATE_DIR,
) -> None:
    """Show what became of a run: checkpoints, steps, drift, stages.

    The page that --html writes needs no network and no other file.
    """
    from resume_daemon.report.html.gather import gather  # noqa: PLC0415 - heavy imports wait
    from resume_daemon.report.html.page import page  # noqa: PLC0415 - as above
    from resume_daemon.report.html.writing import check_target, write_page  # noqa: PLC0415

    directory = sidecar(run, state_dir)
    if html is not None:
        check_target(html)
    facts = gather(Path(os.path.realpath(run)), directory)
    if html is not None:
        write_page(html, page(facts))
    if as_json:
        print_json(facts.as_json())
    elif html is not None:
        say(f"wrote {html}")
    else:
        _print(facts)


def _print(facts: Facts) -> None:
    from resume_daemon.report.console import rows_table  # noqa: PLC0415 - only for people
    from resume_daemon.report.facts_lines import facts_lines  # noqa: PLC0415 - as above

    if facts.checkpoints:
        console().print(rows_table(facts.checkpoints))
    for line in facts_lines(facts):
        say(line)
