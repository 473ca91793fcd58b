"""What ``params --auto-fix`` does and says: the differences, then the backup, then the writes."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import typer

from resume_daemon.cli.output import say
from resume_daemon.cli.repairing import working
from resume_daemon.errors import UsageError
from resume_daemon.report.plain import plain

if TYPE_CHECKING:
    from pathlib import Path

    from resume_daemon.parameters.facts import Facts
    from resume_daemon.parameters.lengths import Strategy
    from resume_daemon.parameters.mending import MendingPlan

AUTO_FIX: Any = typer.Option(
    False, "--auto-fix", help="Write lengths that fit, after a backup of each file."
)
STRATEGY: Any = typer.Option(
    "custom",
    "--strategy",
    metavar="NAME",
    help="How --auto-fix divides the sequence: custom (keeps your ratio), balanced, prompt_heavy "
    "or completion_heavy.",
)


def chosen_strategy(name: str) -> Strategy:
    """Return the strategy of a name.

    Raises:
        UsageError: There is none of that name.
    """
    from resume_daemon.parameters.lengths import Strategy  # noqa: PLC0415 - heavy imports wait

    try:
        return Strategy(name)
    except ValueError:
        known = ", ".join(each.value for each in Strategy)
        raise UsageError(
            "divide a sequence by the strategy", name, f"there is none; there are {known}"
        ) from None


def mend(
    facts: Facts, strategy: Strategy, state_dir: Path | None, *, quiet: bool
) -> dict[str, Any]:
    """Put right what can be, and return what was done for ``--json``.

    Args:
        facts: All that is known of the run's parameters.
        strategy: How the sequence is divided where lengths do not fit.
        state_dir: The state directory of the configuration, or None.
        quiet: Whether stdout belongs to JSON; then what is done is told on stderr.

    Raises:
        HeldError: A daemon watches the run, or somebody else repairs it.
        ResumeDaemonError: A file changed meanwhile or cannot be written; none was changed.
    """
    from resume_daemon.parameters.mending import plan as plan_of  # noqa: PLC0415 - heavy imports wait
    from resume_daemon.repair.actions import parameters  # noqa: PLC0415 - as above
    from resume_daemon.repair.proposals import Proposal  # noqa: PLC0415 - as above

    def tell(sentence: str) -> None:
        if quiet:
            typer.echo(plain(sentence), err=True)
        else:
            say(sentence)

    plan = plan_of(facts, strategy)
    document = _document(plan, strategy)
    if not plan.steps and not plan.left:
        tell("nothing to fix: no length has to change")
    for each in plan.done:
        tell(f"to {each.sentence}:")
    for step in document["files"]:
        for line in step["difference"]:
            tell(f"  {line}")
    if plan.steps:
        proposals = [each for each in parameters.propose(plan) if isinstance(each, Proposal)]
        with working(facts.run, state_dir) as (engine, _):
            for sentence in engine.recover():
                tell(sentence)
            repair = engine.apply(proposals, datetime.now(UTC))
        document["repair"] = repair.id
        for step in plan.steps:
            tell(f"wrote {step.target}: {step.sentence}")
        run = shlex.quote(str(facts.run))
        tell(f"take it back with `resume-daemon repair {run} --undo {repair.id}`")
    for each in plan.left:
        tell(f"not fixed: to {each.sentence}: {each.reason}")
    return document


def _document(plan: MendingPlan, strategy: Strategy) -> dict[str, Any]:
    from resume_daemon.files import read_bounded  # noqa: PLC0415 - heavy imports wait
    from resume_daemon.parameters.edits.plan import EDIT_LIMIT  # noqa: PLC0415 - as above
    from resume_daemon.report.differences import difference  # noqa: PLC0415 - as above

    return {
        "strategy": strategy.value,
        "repair": None,
        "files": [
            {
                "path": str(step.target),
                "what": step.sentence,
                "difference": list(
                    difference(
                        step.target.name, read_bounded(step.target, EDIT_LIMIT), step.content
                    )
                ),
            }
            for step in plan.steps
        ],
        "fixed": [each.sentence for each in plan.done],
        "left": [{"what": each.sentence, "reason": each.reason} for each in plan.left],
    }
