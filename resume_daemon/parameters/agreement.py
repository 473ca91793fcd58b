"""The script's own lengths against those that it hands to the trainer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resume_daemon.findings import Code, Severity
from resume_daemon.parameters.wording import told

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resume_daemon.findings import Finding
    from resume_daemon.parameters.values import Setting

DISAGREE = Code(
    "RD804",
    "lengths-disagree",
    Severity.ERROR,
    "The script's length is not the trainer's",
    "The script cuts and filters by its own length while the trainer generates by another: prompts "
    "are cut twice, or completions end where nobody expects it. Where the script copies its length "
    "into GRPOConfig, what is written in the other place counts for nothing.",
    "Give both the same value, or only one of them.",
    "the field guide's rule: ScriptConfig's lengths are copied into GRPOConfig",
)


def check(script: Setting, trainer: Setting) -> Iterator[Finding]:
    """Yield a finding where the two places give the same length different values.

    Args:
        script: The length in the script's own configuration (``script_max_prompt_length``).
        trainer: The same length as GRPOConfig is given it (``max_prompt_length``).
    """
    if script.value is None or trainer.value is None or script.value == trainer.value:
        return
    if not (script.certain and trainer.certain):
        return
    yield DISAGREE.finding(
        f"{told(script)} is not {told(trainer)}",
        file=None if script.source.path is None else str(script.source.path),
        hint=f"Set both to the same number; the script's own is most likely what was meant: "
        f"{script.value}.",
    )
