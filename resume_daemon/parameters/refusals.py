"""Rules of the user's own configuration classes that the next start does not keep."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resume_daemon.findings import Code, Severity

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from resume_daemon.findings import Finding
    from resume_daemon.parameters.post_init import Refusal

OWN_RULE = Code(
    "RD818",
    "configuration-refuses",
    Severity.ERROR,
    "The script's own configuration refuses the values that it is given",
    "A __post_init__ of the user's code raises on the values that the next start is given, so that "
    "the start fails before anything is loaded.",
    "Change the values so that the rule is kept, or the rule where it is wrong.",
)


def check(refusals: Iterable[Refusal]) -> Iterator[Finding]:
    """Yield a finding for each rule that is not kept."""
    for each in refusals:
        yield OWN_RULE.finding(
            f"{each.scope} {each.rule} ({each.path.name} line {each.line})", file=str(each.path)
        )
