"""Lightning's names of checkpoints: do they tell of the moment that lies inside?"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from resume_daemon.findings import Code, Finding, Severity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resume_daemon.evidence import Evidence

OTHER_NAME = Code(
    "RD135",
    "name-of-another-moment",
    Severity.WARNING,
    "The name tells of another moment than what is inside",
    "Epoch or step in the checkpoint's name are not those that it holds: another file was copied "
    "or renamed to this name. The trainer resumes with what is inside. Where the step alone "
    "differs, the module logs a metric of that name, which the name then shows; that is only told.",
    "Resume by the step inside, which is the one shown here; find out who renamed it.",
    "lightning 2.6 model_checkpoint.py: _monitor_candidates",
)

_STEP = re.compile(r"(?:^|[^A-Za-z_])step=(\d{1,18})(?!\d)", re.ASCII)
_EPOCH = re.compile(r"(?:^|[^A-Za-z_])epoch=(\d{1,18})(?!\d)", re.ASCII)


def check(evidence: Evidence) -> Iterator[Finding]:
    """Yield a finding where epoch or step of the name are not those inside."""
    if evidence.layout != "lightning" or not evidence.recorded_steps:
        return
    file, inside = evidence.recorded_steps[0]
    value = evidence.value(file)
    within = value.get("epoch") if isinstance(value, dict) else None
    epoch, step = _number(_EPOCH, evidence.name), _number(_STEP, evidence.name)
    if epoch is not None and type(within) is int and epoch != within:
        yield OTHER_NAME.finding(
            f"{evidence.name} is of epoch {within} and step {inside}", file=file
        )
    elif step is not None and step != inside:
        before = evidence.previous
        agreed = before is not None and _number(_STEP, before.checkpoint) == before.step
        yield OTHER_NAME.finding(
            f"{evidence.name} is of step {inside}",
            file=file,
            severity=None if epoch is None and agreed else Severity.INFO,
        )


def _number(pattern: re.Pattern[str], name: str) -> int | None:
    match = pattern.search(name)
    return int(match[1]) if match else None
