"""Where the trainer wrote down its step: do all such places say the same?"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from resume_daemon.findings import Code, Finding, Severity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resume_daemon.evidence import Evidence

RECORDED_STEP = Code(
    "RD410",
    "recorded-step",
    Severity.ERROR,
    "A file records another step than the rest of the checkpoint",
    "The trainer writes its step into a file, and it is not the one that the checkpoint's name or "
    "another file says: files of two saves are mixed. The trainer would take the step from one of "
    "them and the weights from another.",
    "Resume from an earlier checkpoint.",
)


def check(evidence: Evidence) -> Iterator[Finding]:
    """Yield a finding for each file whose step is not that of the name, or of most files."""
    recorded = evidence.recorded_steps
    if not recorded:
        return
    counted = Counter(step for _, step in recorded)
    expected = evidence.declared
    if expected is None:
        expected = counted.most_common(1)[0][0]
    source = "the name says" if evidence.declared is not None else "others record"
    for file, step in recorded:
        if step != expected:
            yield RECORDED_STEP.finding(f"{file} is of step {step}, {source} {expected}", file=file)
