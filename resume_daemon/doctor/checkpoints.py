"""What a resume would start from, and what lies in its way. Pure: the plan is an argument."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from resume_daemon.findings import Code, Severity, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resume_daemon.findings import Finding
    from resume_daemon.resume.plan import Candidate, ResumePlan

NOTHING = Code(
    "RD846",
    "nothing-to-resume-from",
    Severity.ERROR,
    "There are checkpoints, and none may be resumed from",
    "Each was refused. A trainer that is told to resume takes the one with the highest number, "
    "whatever it is worth, and most damages do not make it fail.",
    "`resume-daemon plan RUN` says why each was refused, and `resume-daemon repair RUN` what can "
    "be mended; --degraded takes one from which something is lost.",
    "transformers trainer_utils.py: get_last_checkpoint looks at names alone",
)
NEWEST_REFUSED = Code(
    "RD847",
    "newest-checkpoint-refused",
    Severity.WARNING,
    "The newest checkpoint may not be resumed from",
    "A trainer that looks for the last checkpoint by itself would take it. An older one will do.",
    "Start with `resume-daemon exec`, or pass the path that `resume-daemon plan RUN` names.",
    "transformers trainer_utils.py: get_last_checkpoint looks at names alone",
)
NOT_READ = Code(
    "RD848",
    "checkpoint-not-read",
    Severity.INFO,
    "The checkpoint was not read to its last byte",
    "No daemon has verified it since it was written, and only headers and small files were read "
    "now: damage inside the weights is not seen.",
    "`resume-daemon doctor RUN --deep` reads every byte, and so does `resume-daemon verify`.",
)
NOT_TRUSTED = Code(
    "RD864",
    "unsound-when-last-verified",
    Severity.ERROR,
    "The checkpoint was unsound when it was last verified, and was changed or copied since",
    "Only headers and small files were read now, and they are in order; the damage that was found "
    "then may lie in what was not read. A copy of a damaged checkpoint is damaged as well.",
    "`resume-daemon doctor RUN --deep` reads every byte; so does a daemon that watches the run.",
)
LOSES = Code(
    "RD869",
    "resume-loses-something",
    Severity.WARNING,
    "The checkpoint to resume from is degraded",
    "It will do because that was asked for. What is lost is not said by the trainer: it starts "
    "such a part afresh.",
    "`resume-daemon verify CHECKPOINT` says all that is lost; leave --degraded out to go back to a "
    "sound one.",
)
LEDGER_DAMAGED = Code(
    "RD870",
    "ledger-line-damaged",
    Severity.WARNING,
    "A line of the ledger is damaged",
    "It was passed over: what it said, such as the verdict on a checkpoint or a step pair, is not "
    "known here.",
    "`resume-daemon ledger verify RUN` shows where; checkpoints are verified anew by `verify`.",
)
STAGING = Code(
    "RD849",
    "save-cut-off",
    Severity.INFO,
    "A save was begun and not finished",
    "A directory that a trainer saves into before it gives it its name was left behind. Nobody "
    "resumes from it; it takes up room.",
    "If no trainer is saving now, `resume-daemon cleanup RUN` lists what may go.",
)
NO_CHECKPOINT = Code(
    "RD850",
    "no-checkpoint-yet",
    Severity.INFO,
    "The run has no checkpoint yet",
    "There is nothing to resume from and nothing to lose: the training starts from the beginning.",
    "Start it.",
)

GONE = Code(
    "RD871",
    "checkpoints-gone",
    Severity.ERROR,
    "The run had checkpoints, and has none any more",
    "A daemon found some of them sound, and none is there now: another disk may be mounted, the "
    "run may have been moved, or somebody removed them. A training that starts now starts from "
    "the beginning, in silence.",
    "`resume-daemon plan RUN` names the newest, and their backups where there are any. To begin "
    "anew, take another directory, or move the daemon's files (`.resume_daemon`) away.",
)


@dataclass(frozen=True, slots=True)
class CheckpointFacts:
    """What is there to resume from.

    Attributes:
        plan: The resume plan.
        read_now: Names of checkpoints of which headers and small files were read just now.
        once_unsound: Names of those that were unsound when a daemon last verified them.
        staging: Names of saves that were begun and not finished.
        damages: What is wrong with lines of the ledger that were passed over.
    """

    plan: ResumePlan
    read_now: frozenset[str] = frozenset()
    once_unsound: frozenset[str] = frozenset()
    staging: tuple[str, ...] = ()
    damages: tuple[str, ...] = ()


def check(facts: CheckpointFacts) -> Iterator[Finding]:
    """Yield what a resume has to know of the checkpoints."""
    plan = facts.plan
    chosen = plan.chosen
    if plan.gone:
        yield GONE.finding(f"The checkpoints are gone: {plan.gone_told}{_backed_up(plan)}.")
    elif chosen is None and not plan.refused:
        yield NO_CHECKPOINT.finding("There is no checkpoint yet.")
    elif chosen is None:
        count = len(plan.refused)
        lead = "The only checkpoint may not" if count == 1 else f"None of {count} checkpoints may"
        why = f"{_why(plan.refused[0])}{_backed_up(plan)}"
        yield NOTHING.finding(f"{lead} be resumed from; {why}.")
    elif plan.refused:
        lost = plan.steps_lost
        again = f"; {lost} steps are trained again" if lost else ""
        yield NEWEST_REFUSED.finding(
            f"{_why(plan.refused[0])}; {chosen.name} will do{again}.", file=plan.refused[0].name
        )
    if chosen is not None and chosen.name in facts.read_now & facts.once_unsound:
        yield NOT_TRUSTED.finding(
            f"{chosen.name} was unsound when it was last verified, and its files are not the same "
            "since.",
            file=chosen.name,
        )
    elif chosen is not None and chosen.name in facts.read_now:
        yield NOT_READ.finding(f"{chosen.name} was not read whole.", file=chosen.name)
    if chosen is not None and chosen.verdict is Verdict.DEGRADED:
        yield LOSES.finding(f"{_why(chosen)}.", file=chosen.name)
    for damage in facts.damages:
        yield LEDGER_DAMAGED.finding(damage)
    for name in facts.staging:
        yield STAGING.finding(f"{name} is a save that was not finished.", file=name)


def _backed_up(plan: ResumePlan) -> str:
    if not plan.backups:
        return ""
    return f"; {plan.backups[0].checkpoint} has a backup at {plan.backups[0].destination}"


def _why(candidate: Candidate) -> str:
    verdict = "cannot be judged" if candidate.verdict is None else f"is {candidate.verdict.value}"
    reason = f" ({candidate.why[0].rstrip('.')})" if candidate.why else ""
    return f"{candidate.name} {verdict}{reason}"


def summary(facts: CheckpointFacts) -> str:
    """Return what was seen, in a sentence."""
    plan = facts.plan
    if plan.chosen is None:
        if plan.gone:
            return plan.gone_told
        return "nothing to resume from" if plan.refused else "no checkpoint yet"
    verdict = plan.chosen.verdict
    worth = verdict.value if verdict is not None else "not judged"
    how = "headers and small files read" if plan.chosen.name in facts.read_now else "every byte"
    if plan.chosen.judged_at is not None:
        how = f"judged {plan.chosen.judged_at:%Y-%m-%d %H:%M} UTC, not touched since"
    return f"resume from {plan.chosen.name}, {worth} ({how})"
