"""Examine a run: gather the facts of each theme and have them judged. Nothing is written."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resume_daemon.doctor import (
    checkpoints,
    clock,
    curriculum,
    dependencies,
    disk,
    environment,
    kernel,
    limits,
    permissions,
    places,
    tracking,
)
from resume_daemon.doctor.diagnosis import Diagnosis, Section
from resume_daemon.doctor.distributions import Installed, installed_in
from resume_daemon.doctor.interpreter import default_interpreter, named_interpreter
from resume_daemon.doctor.masking import shown
from resume_daemon.doctor.tracker_logs import tracker_facts
from resume_daemon.doctor.trained import Trained, trained
from resume_daemon.errors import ResumeDaemonError
from resume_daemon.findings import Code, Severity
from resume_daemon.layouts.registry import checkpoints_in
from resume_daemon.ledger.queries import RunState, fold
from resume_daemon.ledger.reader import read_records
from resume_daemon.lock import holder
from resume_daemon.resume.environment import CHECKPOINT_VARIABLE
from resume_daemon.resume.survey import Wishes as PlanWishes
from resume_daemon.resume.survey import survey
from resume_daemon.verification import Depth, Options
from resume_daemon.watching.filesystem import filesystem_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from resume_daemon.doctor.host import Host
    from resume_daemon.resume.plan import ResumePlan
    from resume_daemon.state_directory import StateDirectory

NOT_EXAMINED = Code(
    "RD863",
    "theme-not-examined",
    Severity.WARNING,
    "A theme could not be examined",
    "Something that it rests on could not be read, so nothing is said about it: neither that all "
    "is well nor that it is not.",
    "See the reason; run this as the user that trains.",
)

_OLD_DEFAULT_PROMPT = 512
"""TRL's own max_prompt_length until it was removed: found in a checkpoint, nobody need have set
it."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the user asks for.

    Attributes:
        python: The trainer's interpreter, or None for the one on PATH.
        checkpoint: Name of the only checkpoint that is considered, or None for all.
        deep: Whether every byte is read of what no daemon has verified.
        run_id: The W&B run that goes on, where there are several.
    """

    python: Path | None = None
    checkpoint: str | None = None
    deep: bool = False
    run_id: str | None = None


def examine(
    run: Path | None,
    state: StateDirectory | None,
    host: Host,
    wishes: Wishes = Wishes(),
    *,
    watch: Callable[[Path], Callable[[int], None]] = lambda _: lambda _: None,
) -> Diagnosis:
    """Return what was found, theme by theme.

    Args:
        run: The run directory with its links resolved, or None to look at the machine alone.
        state: Where the daemon's files are, or None where none has watched.
        host: The machine.
        wishes: What the user asks for.
        watch: Told of each checkpoint that is read; what it returns is told the bytes.

    Raises:
        UsageError: There is no interpreter at ``wishes.python``.
        ResumeDaemonError: The run cannot be listed, or its ledger cannot be read.
    """
    about = _about(run, state, host, wishes, watch)
    themes: list[Callable[[_About], Section]] = [_environment, _dependencies, _limits]
    if run is not None:
        themes = [
            _checkpoints,
            _environment,
            _tracker,
            _curriculum,
            _dependencies,
            _disk,
            _permissions,
            _clock,
            _limits,
        ]
    return Diagnosis(run, tuple(_guarded(theme, about) for theme in themes))


@dataclass(frozen=True, slots=True)
class _About:
    """What several themes need, gathered once."""

    run: Path | None
    state: StateDirectory | None
    host: Host
    wishes: Wishes
    known: RunState
    listed: places.Listed
    trained: Trained
    plan: ResumePlan | None
    tracker: tracking.TrackerFacts
    installed: Installed
    interpreter: Any
    network: bool


def _about(
    run: Path | None,
    state: StateDirectory | None,
    host: Host,
    wishes: Wishes,
    watch: Callable[[Path], Callable[[int], None]],
) -> _About:
    interpreter = (
        default_interpreter(host.environ)
        if wishes.python is None
        else named_interpreter(wishes.python, host.environ)
    )
    found = Installed()
    if interpreter is not None:
        found = installed_in(interpreter.directories, frozenset(dependencies.PACKAGES))
    about = _About(
        run=run,
        state=state,
        host=host,
        wishes=wishes,
        known=RunState(),
        listed=places.Listed({}),
        trained=Trained(),
        plan=None,
        tracker=tracking.TrackerFacts(),
        installed=found,
        interpreter=interpreter,
        network=False,
    )
    if run is None:
        return about
    names = checkpoints_in(run)
    listed = places.listed(run, names)
    known = fold(read_records(state.ledger)) if state is not None else RunState()
    plan = survey(
        run,
        state,
        PlanWishes(checkpoint=wishes.checkpoint, run_id=wishes.run_id),
        options=Options(depth=Depth.DEEP if wishes.deep else Depth.QUICK),
        watch=watch,
    )
    newest = wishes.checkpoint or next(reversed(names), None)
    wandb = found.first.get("wandb")
    return replace(
        about,
        known=known,
        listed=listed,
        trained=trained(Path(os.path.realpath(run / newest))) if newest else Trained(),
        plan=plan,
        tracker=tracker_facts(
            run,
            host,
            known,
            since=listed.since(host.now),
            named=wishes.run_id,
            wandb_version=wandb.version if wandb is not None else None,
        ),
        network=_network(run, host),
    )


def _guarded(theme: Callable[[_About], Section], about: _About) -> Section:
    """Return the section of a theme; what cannot be read ends this theme, and no other."""
    name = theme.__name__.removeprefix("_")
    try:
        return theme(about)
    except ResumeDaemonError as error:
        reason = str(error)
    except OSError as error:
        reason = f"{error.filename or name}: {error.strerror or error}"
    finding = NOT_EXAMINED.finding(f"{name} could not be examined: {reason}")
    return Section(name, "not examined", (finding,))


def _checkpoints(about: _About) -> Section:
    assert about.plan is not None  # noqa: S101 - only asked for with a run
    assert about.run is not None  # noqa: S101 - as above
    plan = about.plan
    looked_at = [*plan.refused, *([plan.chosen] if plan.chosen is not None else [])]
    now = frozenset(each.name for each in looked_at if each.judged_at is None)
    facts = checkpoints.CheckpointFacts(
        plan,
        read_now=frozenset() if about.wishes.deep else now,
        once_unsound=frozenset(
            name for name, each in about.known.checkpoints.items() if each.verdict == "unsound"
        ),
        staging=places.staging_in(about.run),
    )
    return Section(
        "checkpoints",
        checkpoints.summary(facts),
        tuple(checkpoints.check(facts)),
        {
            "layout": about.trained.layout,
            "judged": [each.as_json() for each in looked_at],
            "not_looked_at": list(plan.untold),
            "unfinished": list(facts.staging),
            "listed": [
                {"checkpoint": name, "size": listing.total_bytes(), "entries": sorted(listing)}
                for name, listing in about.listed.listings.items()
            ],
        },
    )


def _environment(about: _About) -> Section:
    variables = about.host.environ
    facts = environment.EnvironmentFacts(
        variables=variables,
        run_ids=about.tracker.run_ids,
        certain=bool(about.tracker.recorded) or len(about.tracker.run_ids) == 1,
        resume_id=_resume_id(about),
        named=_named(about),
        trained_on_gpu=about.trained.gpu,
    )
    findings = tuple(environment.check(facts))
    told = [name for name in variables if name.startswith("WANDB_") or name == CHECKPOINT_VARIABLE]
    return Section(
        "environment",
        f"set: {', '.join(sorted(told))}" if told else "no variable of W&B or of a resume is set",
        findings,
        {"variables": [{"name": name, "value": value} for name, value in shown(variables)]},
    )


def _resume_id(about: _About) -> str | None:
    """Return the W&B run that a resume should go on with, where one is known."""
    if about.plan is None or about.plan.chosen is None:
        return None
    if about.plan.tracker is not None:
        return about.plan.tracker.run_id
    ids = about.tracker.run_ids
    return ids[0] if len(ids) == 1 else None


def _named(about: _About) -> environment.NamedCheckpoint | None:
    value = about.host.environ.get(CHECKPOINT_VARIABLE)
    if not value:
        return None
    path = Path(os.path.realpath(value))
    if about.run is None or about.plan is None:
        return environment.NamedCheckpoint(value, path.exists())
    plan = about.plan
    judged = {each.name: each.verdict for each in plan.refused}
    verdict = judged.get(path.name)
    return environment.NamedCheckpoint(
        value,
        exists=os.path.exists(path),  # noqa: PTH110 - that of Path may raise
        in_run=path.parent == about.run and path.name in about.listed.listings,
        verdict=None if verdict is None else verdict.value,
        wanted=None if plan.chosen is None else plan.chosen.name,
    )


def _tracker(about: _About) -> Section:
    facts = about.tracker
    return Section(
        "tracker",
        tracking.summary(facts),
        tuple(tracking.check(facts)),
        {
            "directories": list(facts.directories),
            "local_runs": [
                {"run_id": each.run_id, "segments": each.segments, "online": each.online}
                for each in facts.local
            ],
            "recorded": list(facts.recorded),
            "authenticated": facts.key,
        },
    )


def _curriculum(about: _About) -> Section:
    from resume_daemon.curriculum.inspect import inspect_checkpoints  # noqa: PLC0415

    assert about.plan is not None  # noqa: S101 - only asked for with a run
    assert about.run is not None  # noqa: S101 - as above
    plan = about.plan
    name = None if plan.chosen is None else plan.chosen.name
    findings = [
        *curriculum.check(plan.curriculum, name),
        *inspect_checkpoints(about.run, [about.run / each for each in about.listed.listings]),
    ]
    return Section(
        "curriculum",
        curriculum.summary(plan.curriculum, findings),
        tuple(findings),
        {"states": [point.as_json() for point in plan.curriculum]},
    )


def _dependencies(about: _About) -> Section:
    interpreter = about.interpreter
    version = interpreter.version if interpreter is not None else None
    facts = dependencies.DependencyFacts(
        interpreter=interpreter,
        installed=about.installed,
        needed=_needed(about),
        settings=_settings(about.trained),
        platform={"python_version": version, "python_full_version": f"{version}.0"}
        if version
        else {},
        written_with=about.trained.written_with,
    )
    found = about.installed.first
    there = [f"{name} {found[name].version}" for name in dependencies.PACKAGES if name in found]
    summary = "there is no python on PATH"
    if interpreter is not None:
        summary = f"{interpreter.path} ({interpreter.how}): {', '.join(there) or 'none of them'}"
    return Section(
        "dependencies",
        summary,
        tuple(dependencies.check(facts)),
        {
            "python": None if interpreter is None else str(interpreter.path),
            "python_version": version,
            "found_by": None if interpreter is None else interpreter.how,
            "searched": [] if interpreter is None else [str(p) for p in interpreter.directories],
            "packages": [
                {"name": name, "version": found[name].version if name in found else None}
                for name in dependencies.PACKAGES
            ],
        },
    )


def _needed(about: _About) -> dict[str, str]:
    """Return which packages the run was trained with, each with what tells so."""
    told = about.trained
    kind = told.arguments_class
    found: dict[str, str] = {}
    if kind.startswith(("transformers.", "trl.")):
        reason = f"the checkpoint's training arguments are a {kind}"
        found |= dict.fromkeys(("torch", "transformers", "accelerate"), reason)
    if kind.startswith("trl."):
        found["trl"] = f"the checkpoint's training arguments are a {kind}"
    if told.adapter:
        found["peft"] = "the checkpoint holds an adapter"
    if about.tracker.recorded:
        found["wandb"] = "the run was logged to W&B until now"
    elif told.reports_to_wandb:
        found["wandb"] = "the checkpoint's training arguments ask for W&B"
    return found


def _settings(told: Trained) -> frozenset[str]:
    """Return the settings that somebody gave the trainer, as far as a checkpoint can tell."""
    prompt = told.arguments.get("max_prompt_length")
    return (
        frozenset() if prompt in {None, _OLD_DEFAULT_PROMPT} else frozenset({"max_prompt_length"})
    )


def _disk(about: _About) -> Section:
    assert about.run is not None  # noqa: S101 - only asked for with a run
    facts = places.disk_facts(about.run, about.host, about.listed, about.trained, about.state)
    found = disk.forecast(facts)
    return Section(
        "disk",
        disk.summary(facts),
        tuple(disk.check(facts)),
        {
            "total_bytes": facts.room.total,
            "free_bytes": facts.room.free,
            "free_inodes": facts.room.free_inodes,
            "checkpoint_bytes": None if found is None else found.bytes,
            "fits": None if found is None else found.fits,
            "to_come": None if found is None else found.wanted,
            "seconds_between": None if found is None else found.every,
        },
    )


def _permissions(about: _About) -> Section:
    assert about.run is not None  # noqa: S101 - only asked for with a run
    facts = places.permission_facts(about.run, about.host, about.listed)
    return Section(
        "permissions",
        permissions.summary(facts),
        tuple(permissions.check(facts)),
        {
            "owner": facts.run.uid,
            "group": facts.run.gid,
            "mode": f"{facts.run.mode & 0o7777:04o}",
            "writable": facts.writable,
            "read_only": facts.read_only,
        },
    )


def _clock(about: _About) -> Section:
    daemon = about.known.daemon
    facts = clock.ClockFacts(
        now=about.host.now,
        newest=about.listed.newest_file(),
        recorded=None if daemon is None else daemon.at.timestamp(),
        network=about.network,
    )
    return Section(
        "clock",
        clock.summary(facts),
        tuple(clock.check(facts)),
        {"newest_file": None if facts.newest is None else facts.newest[0]},
    )


def _limits(about: _About) -> Section:
    proc = about.host.proc
    watches, instances = kernel.inotify_limits(proc)
    used_watches, used_instances = kernel.inotify_use(proc, about.host.uid)
    facts = limits.LimitFacts(
        max_watches=watches,
        max_instances=instances,
        used_watches=used_watches,
        used_instances=used_instances,
        needed_watches=_watches_needed(about),
        open_files=about.host.open_files,
    )
    return Section(
        "limits",
        limits.summary(facts),
        tuple(limits.check(facts)),
        {
            "inotify_watches": watches,
            "inotify_instances": instances,
            "inotify_watches_used": used_watches,
            "inotify_instances_used": used_instances,
            "open_files": facts.open_files,
        },
    )


def _watches_needed(about: _About) -> int:
    """Return how many directories a daemon would watch; 0 where one does, or would poll."""
    if about.run is None or about.network:
        return 0
    if about.state is not None and (found := holder(about.state.lock)) is not None and found.held:
        return 0
    logs = sum(each.segments for each in about.tracker.local) * 2
    # The run itself, and a spare one for the curriculum's directory.
    return 2 + len(about.listed.listings) + len(about.tracker.directories) + logs


def _network(run: Path, host: Host) -> bool:
    try:
        mounts = (host.proc / "self" / "mountinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return filesystem_of(run, mounts).network
