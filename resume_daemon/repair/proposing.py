"""All that is proposed for a run, in the order in which it is carried out; nothing is changed."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from resume_daemon.curriculum.restore import plan_restore
from resume_daemon.curriculum.snapshot import CURRICULUM, read_snapshot
from resume_daemon.errors import ResumeDaemonError, VanishedError
from resume_daemon.files import read_bounded
from resume_daemon.findings import Verdict
from resume_daemon.parameters.lengths import Strategy
from resume_daemon.parameters.mending import plan as plan_parameters
from resume_daemon.parameters.sources.discovery import SourceFiles
from resume_daemon.parameters.survey import Request
from resume_daemon.parameters.survey import survey as parameters_of
from resume_daemon.repair.actions import curriculum_version, parameters, resume_env
from resume_daemon.repair.mending import mend
from resume_daemon.repair.proposals import Proposal, Unrepaired
from resume_daemon.repair.survey import survey_repair
from resume_daemon.resume.environment import environment
from resume_daemon.resume.survey import Wishes, survey

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping
    from pathlib import Path

    from resume_daemon.repair.proposals import Outcome
    from resume_daemon.resume.plan import Candidate, ResumePlan
    from resume_daemon.state_directory import StateDirectory
    from resume_daemon.verification import Verification


@dataclass(frozen=True, slots=True)
class Proposed:
    """What a repair would do.

    Attributes:
        outcomes: In order: files of checkpoints, moves into quarantine, parameters, the curriculum,
            the environment.
        mended: Checkpoints that are expected to be sound afterwards.
        resume: The resume plan as it is expected to be then.
        unseen: Older checkpoints that nobody has judged, and that were not looked at, newest first.
    """

    outcomes: tuple[Outcome, ...]
    mended: frozenset[str]
    resume: ResumePlan
    unseen: tuple[str, ...] = ()

    @property
    def proposals(self) -> tuple[Proposal, ...]:
        """What can be done."""
        return tuple(each for each in self.outcomes if isinstance(each, Proposal))


@dataclass(frozen=True, slots=True)
class NextStart:
    """What the next start of the trainer is given.

    Attributes:
        environ: The environment that it would inherit.
        files: Files that the user names; a kind of which none is named is looked for.
        strategy: How a sequence is divided where its lengths do not fit.
    """

    environ: Mapping[str, str]
    files: SourceFiles = field(default_factory=SourceFiles)
    strategy: Strategy = Strategy.CUSTOM


def propose(
    run: Path,
    state: StateDirectory | None,
    *,
    now_ns: int,
    asked: Collection[str] = (),
    start: NextStart | None = None,
    wishes: Wishes | None = None,
    watch: Callable[[Path], Callable[[int], None]] = lambda _: lambda _: None,
) -> Proposed:
    """Return all that can be put right in a run, and what cannot.

    Args:
        run: The run directory, with its links resolved.
        state: Where the daemon's files are, or None where none has watched.
        now_ns: The time, in nanoseconds since the epoch.
        asked: Checkpoints that the user wants moved aside.
        start: What the next start is given; None to leave parameters alone.
        wishes: What the user asks for of the resume plan, or None.
        watch: Told of each checkpoint that is read; what it returns is told the bytes.

    Raises:
        ResumeDaemonError: The run cannot be listed, or its ledger cannot be read.
    """
    found = survey_repair(run, state, now_ns=now_ns, watch=watch)
    mending = mend(found.facts, asked)
    expected = {
        name: _expected(each, mended=name in mending.mended, moved=name in asked)
        for name, each in found.verifications.items()
    }
    resume = survey(run, state, wishes or Wishes(), watch=watch, judged=expected)
    outcomes = list(mending.outcomes)
    if start is not None and found.facts.checkpoints:
        outcomes += _parameters(run, state, start, resume.chosen)
    if resume.chosen is not None and state is not None:
        outcomes += _curriculum(resume.chosen, resume, state)
        outcomes += _environment(resume.chosen, resume, state.resume_env)
    unseen = tuple(each for each in resume.untold if each not in found.verifications)
    return Proposed(tuple(outcomes), mending.mended, resume, unseen)


def _expected(found: Verification, *, mended: bool, moved: bool) -> Verification:
    if moved:
        return replace(found, verdict=Verdict.UNSOUND)
    return replace(found, verdict=Verdict.SOUND, findings=()) if mended else found


def _parameters(
    run: Path, state: StateDirectory | None, start: NextStart, chosen: Candidate | None
) -> Iterator[Outcome]:
    request = Request(None if chosen is None else chosen.name, start.files)
    try:
        plan = plan_parameters(parameters_of(run, state, request, start.environ), start.strategy)
    except ResumeDaemonError as error:
        yield Unrepaired(parameters.ACTION, None, str(error))
        return
    yield from parameters.propose(plan)


def _curriculum(chosen: Candidate, resume: ResumePlan, state: StateDirectory) -> Iterator[Outcome]:
    """Yield the state files of the checkpoint that the run does not have now."""
    if all(point.in_place for point in resume.curriculum):
        return
    try:
        snapshot = read_snapshot(state.snapshots / chosen.name)
        plan = plan_restore(snapshot, resume.run)
        contents = {step.file: snapshot.content(CURRICULUM + step.file) for step in plan.steps}
    except ResumeDaemonError as error:
        yield Unrepaired(curriculum_version.ACTION, chosen.name, str(error))
        return
    doubts = tuple(
        f"{file} was chosen by its time, and may belong to a neighbour."
        for file, assignment in snapshot.index.curriculum.items()
        if not assignment.certain
    )
    yield from curriculum_version.propose(chosen.name, plan, contents, doubts)


def _environment(chosen: Candidate, resume: ResumePlan, target: Path) -> Iterator[Outcome]:
    present = None
    with suppress(VanishedError):
        present = read_bounded(target)
    choice = next(iter(resume.choices), None)
    found = environment(chosen.path, choice)
    yield from resume_env.propose(chosen.name, target, present, found, resume.doubts)
