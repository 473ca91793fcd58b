"""The resume plan in lines, for a tired person."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from resume_daemon.report.plain import plain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resume_daemon.resume.plan import Candidate, CurriculumPoint, ResumePlan

_SHOWN = 3
"""Reasons that are shown of a checkpoint; ``verify`` shows all."""


def plan_lines(plan: ResumePlan, run: str) -> list[str]:
    """Return what to start, why, and with which consequences.

    Args:
        plan: The plan.
        run: The run, as the user named it.
    """
    return [plain(line) for line in _lines(plan, run)]


def _lines(plan: ResumePlan, run: str) -> Iterator[str]:
    if plan.chosen is None:
        yield f"nothing to resume from in {run}"
    else:
        yield f"resume from {plan.chosen.name}  {_judged(plan.chosen)}"
        yield from _reasons(plan.chosen, "  lost: ")
    for each in plan.refused:
        yield f"not from {each.name}  {_judged(each)}"
        yield from _reasons(each, "  ")
    if plan.refused:
        yield f"what can be put right: resume-daemon repair {shlex.quote(run)}"
    yield from _backups(plan, run)
    if plan.chosen is None:
        if plan.gone:
            yield f"{plan.gone_told}: is the right disk mounted, is it the right directory?"
        elif not plan.refused:
            yield "there is no checkpoint yet; start from the beginning"
        return
    yield from _work(plan)
    yield from _tracker(plan)
    yield from _curriculum(plan.curriculum, run, plan.chosen.name)
    if plan.parameters:
        yield "trained with: " + ", ".join(f"{k}={v}" for k, v in plan.parameters.items())
    for doubt in plan.doubts:
        yield f"not certain: {doubt}"
    yield f'start it: eval "$(resume-daemon env {shlex.quote(run)})", then your own command'


def _backups(plan: ResumePlan, run: str) -> Iterator[str]:
    there = {each.name for each in plan.refused}
    for each in plan.backups[:_SHOWN]:
        words = ("resume-daemon", "restore", run, each.id, "--from", each.destination)
        yield f"{each.checkpoint} was backed up {each.at:%Y-%m-%d %H:%M} UTC: {shlex.join(words)}"
        if each.checkpoint in there:
            yield f"  nothing is put over {each.checkpoint}: move that away first"
    if (more := len(plan.backups) - _SHOWN) > 0:
        yield f"and {more} older backups: resume-daemon status {shlex.quote(run)} --json"


def _judged(candidate: Candidate) -> str:
    if candidate.verdict is None:
        return "could not be judged"
    when = candidate.judged_at
    then = "" if when is None else f" (judged {when:%Y-%m-%d %H:%M} UTC, not touched since)"
    return f"{candidate.verdict.value}{then}"


def _reasons(candidate: Candidate, lead: str) -> Iterator[str]:
    for reason in candidate.why[:_SHOWN]:
        yield f"{lead}{reason}"
    if (more := len(candidate.why) - _SHOWN) > 0:
        yield f"{lead}and {more} more: resume-daemon verify {shlex.quote(str(candidate.path))}"


def _work(plan: ResumePlan) -> Iterator[str]:
    lost = plan.steps_lost
    if lost is None:
        yield "how many steps are lost is not known"
    elif lost:
        steps = "1 step is" if lost == 1 else f"{lost} steps are"
        yield f"{steps} trained again: the run had reached step {plan.reached}"
    else:
        yield "no step is lost"


def _tracker(plan: ResumePlan) -> Iterator[str]:
    point = plan.tracker
    if point is None:
        return
    at = "step not recorded"
    if point.tracker_step is not None:
        guess = ", a prediction: the log was not synced" if point.predicted else ""
        at = f"step {point.tracker_step} at trainer step {point.trainer_step}{guess}"
    yield f"{point.tracker} run {point.run_id}: {at}"
    for choice in plan.choices:
        variables = " ".join(f"{k}={shlex.quote(v)}" for k, v in choice.variables.items())
        yield f"  --wandb {choice.name:6}  {choice.consequence}"
        if variables:
            yield f"                  {variables}"


def _curriculum(points: tuple[CurriculumPoint, ...], run: str, name: str) -> Iterator[str]:
    for point in points:
        stage = "" if point.stage is None else f"stage {point.stage}, "
        yield f"curriculum {point.file}: {stage}{point.sentence}"
    if not all(point.in_place for point in points):
        yield "  the run has another one now; put this one back:"
        yield f"  resume-daemon snapshots restore {shlex.quote(run)} {name} --apply"
