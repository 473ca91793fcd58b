"""The report of a run's parameters as a file: text for people, or JSON by the file's name."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console

from resume_daemon.report.html.writing import check_target, write_page
from resume_daemon.report.parameters import parameter_table
from resume_daemon.report.plain import plain

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from resume_daemon.findings import Finding
    from resume_daemon.parameters.facts import Facts

HEAD: Final = "Report of resume-daemon params"
_JSON_HEAD: Final = '{\n  "schema": 1,\n  "run": '
_WIDTH: Final = 100


def check_file(file: Path) -> None:
    """Make sure that nothing else than an older report of this kind would be replaced.

    Raises:
        UsageError: It would, or the directory is not there.
    """
    check_target(file, mark=_JSON_HEAD if _is_json(file) else HEAD)


def write_file(
    file: Path,
    facts: Facts,
    findings: Sequence[Finding],
    document: dict[str, Any],
    fitting: Sequence[str],
) -> None:
    """Write the report: JSON where the file's name ends so, else text.

    Args:
        file: Where to, after ``check_file``.
        facts: What was looked at.
        findings: What is wrong, the gravest first.
        document: What ``--json`` prints.
        fitting: What holds, in sentences.

    Raises:
        ResumeDaemonError: It cannot be written.
    """
    if _is_json(file):
        write_page(file, json.dumps(document, indent=2) + "\n")
    else:
        write_page(file, "".join(f"{line}\n" for line in text_lines(facts, findings, fitting)))


def text_lines(facts: Facts, findings: Sequence[Finding], fitting: Sequence[str]) -> Iterator[str]:
    """Yield the lines of the text: findings with what to do, what fits, every parameter."""
    yield f"{HEAD}: {plain(str(facts.run))}"
    if facts.checkpoint is not None:
        yield f"against {plain(facts.checkpoint.name)}"
    yield ""
    yield f"Findings: {len(findings) or 'none'}"
    for finding in findings:
        yield f"  {finding.code} {finding.severity.value}: {plain(finding.message)}"
        if finding.hint:
            yield f"      to do: {plain(finding.hint)}"
    for sentence in fitting:
        yield f"  fine: {plain(sentence)}"
    for each in facts.unread:
        yield f"  not read: {plain(f'{each.path}: {each.reason}')}"
    yield ""
    screen = Console(file=io.StringIO(), width=_WIDTH, color_system=None, markup=False, emoji=False)
    with screen.capture() as captured:
        screen.print(parameter_table(list(facts.parameters.values())))
    yield from (line.rstrip() for line in captured.get().splitlines())


def _is_json(file: Path) -> bool:
    return file.suffix.lower() == ".json"
