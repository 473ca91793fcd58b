"""The themes of an examination: the facts of each, gathered and judged."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from resume_daemon.curriculum.diagnosis import Look, diagnose
from resume_daemon.doctor import (
    checkpoints,
    clock,
    curriculum,
    dependencies,
    disk,
    environment,
    kernel,
    limits,
    package,
    permissions,
    places,
    tracking,
)
from resume_daemon.doctor.diagnosis import Section
from resume_daemon.doctor.masking import shown
from resume_daemon.doctor.package_files import package_facts
from resume_daemon.lock import holder
from resume_daemon.parameters.checks import check as check_parameters
from resume_daemon.parameters.checks import fitting
from resume_daemon.resume.environment import CHECKPOINT_VARIABLE

if TYPE_CHECKING:
    from resume_daemon.doctor.subject import Subject

_OLD_DEFAULT_PROMPT = 512
"""TRL's own max_prompt_length until it was removed: found in a checkpoint, nobody need have set
it."""


def checkpoints_theme(subject: Subject) -> Section:
    """Examine: what a resume would start from."""
    plan = subject.plan
    looked_at = [*plan.refused, *([plan.chosen] if plan.chosen is not None else [])]
    now = frozenset(each.name for each in looked_at if each.judged_at is None)
    facts = checkpoints.CheckpointFacts(
        plan,
        read_now=frozenset() if subject.wishes.deep else now,
        once_unsound=frozenset(
            name for name, each in subject.known.checkpoints.items() if each.verdict == "unsound"
        ),
        damages=tuple(str(each) for each in subject.damages),
        # Of a hundred thousand names each is held against every layout's patterns.
        staging=() if subject.wishes.brief else places.staging_in(subject.run),
    )
    return Section(
        "checkpoints",
        checkpoints.summary(facts),
        tuple(checkpoints.check(facts)),
        {
            "layout": subject.trained.layout,
            "judged": [each.as_json() for each in looked_at],
            "not_looked_at": list(plan.untold),
            "unfinished": list(facts.staging),
            "listed": [
                {"checkpoint": name, "size": listing.total_bytes(), "entries": sorted(listing)}
                for name, listing in subject.listed.listings.items()
            ],
        },
    )


def environment_theme(subject: Subject) -> Section:
    """Examine: what the next start would inherit."""
    variables = subject.host.environ
    facts = environment.EnvironmentFacts(
        variables=variables,
        run_ids=subject.tracker.run_ids,
        certain=bool(subject.tracker.recorded) or len(subject.tracker.run_ids) == 1,
        resume_id=_resume_id(subject),
        named=_named(subject),
        trained_on_gpu=subject.trained.gpu,
    )
    findings = tuple(environment.check(facts))
    told = [name for name in variables if name.startswith("WANDB_") or name == CHECKPOINT_VARIABLE]
    return Section(
        "environment",
        f"set: {', '.join(sorted(told))}" if told else "no variable of W&B or of a resume is set",
        findings,
        {"variables": [{"name": name, "value": value} for name, value in shown(variables)]},
    )


def _resume_id(subject: Subject) -> str | None:
    """Return the W&B run that a resume should go on with, where one is known."""
    if not subject.given or subject.plan.chosen is None:
        return None
    if subject.plan.tracker is not None:
        return subject.plan.tracker.run_id
    ids = subject.tracker.run_ids
    return ids[0] if len(ids) == 1 else None


def _named(subject: Subject) -> environment.NamedCheckpoint | None:
    value = subject.host.environ.get(CHECKPOINT_VARIABLE)
    if not value:
        return None
    path = Path(os.path.realpath(value))
    if not subject.given:
        return environment.NamedCheckpoint(value, path.exists())
    plan = subject.plan
    judged = {each.name: each.verdict for each in plan.refused}
    verdict = judged.get(path.name)
    return environment.NamedCheckpoint(
        value,
        exists=os.path.exists(path),  # noqa: PTH110 - that of Path may raise
        in_run=path.parent == subject.run and path.name in subject.names,
        verdict=None if verdict is None else verdict.value,
        wanted=None if plan.chosen is None else plan.chosen.name,
    )


def tracker_theme(subject: Subject) -> Section:
    """Examine: which run of the tracker goes on, and whether it can."""
    facts = subject.tracker
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


def curriculum_theme(subject: Subject) -> Section:
    """Examine: whether the curriculum is that of the checkpoint."""
    plan = subject.plan
    name = None if plan.chosen is None else plan.chosen.name
    findings = list(curriculum.check(plan.curriculum, name))
    if not subject.wishes.brief:
        # Code that was named need not be the curriculum's; `curriculum --code` judges that.
        found = diagnose(subject.run, subject.state, Look(), subject.wishes.checkpoint)
        findings += found.findings
    return Section(
        "curriculum",
        curriculum.summary(plan.curriculum, findings),
        tuple(findings),
        {"states": [point.as_json() for point in plan.curriculum]},
    )


def parameters_theme(subject: Subject) -> Section:
    """Examine: whether what the next start is given fits, and fits the past."""
    facts = subject.parameters
    findings = tuple(check_parameters(facts))
    summary = "; ".join(fitting(facts))
    if not summary:
        summary = f"{len(facts.parameters)} read, and no length to hold against a limit"
    return Section(
        "parameters",
        summary if facts.parameters else "nothing says what the run is trained with",
        findings,
        {
            "sources": sorted({each.source.label for each in facts.settings}),
            "not_read": [
                {"path": None if each.path is None else str(each.path), "reason": each.reason}
                for each in facts.unread
            ],
        },
    )


def dependencies_theme(subject: Subject) -> Section:
    """Examine: whether the trainer's packages are there and fit."""
    interpreter = subject.interpreter
    version = interpreter.version if interpreter is not None else None
    facts = dependencies.DependencyFacts(
        interpreter=interpreter,
        installed=subject.installed,
        needed=_needed(subject),
        settings=_settings(subject),
        believed=subject.believed,
        platform={"python_version": version, "python_full_version": f"{version}.0"}
        if version
        else {},
        written_with=subject.trained.written_with,
    )
    found = subject.installed.first
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


def _needed(subject: Subject) -> dict[str, str]:
    """Return which packages the run was trained with, each with what tells so."""
    told = subject.trained
    kind = told.arguments_class
    found: dict[str, str] = {}
    if kind.startswith(("transformers.", "trl.")):
        reason = f"the checkpoint's training arguments are a {kind}"
        found |= dict.fromkeys(("torch", "transformers", "accelerate"), reason)
    if kind.startswith("trl."):
        found["trl"] = f"the checkpoint's training arguments are a {kind}"
    if told.adapter:
        found["peft"] = "the checkpoint holds an adapter"
    if subject.tracker.recorded:
        found["wandb"] = "the run was logged to W&B until now"
    elif told.reports_to_wandb:
        found["wandb"] = "the checkpoint's training arguments ask for W&B"
    return found


def _settings(subject: Subject) -> frozenset[str]:
    """Return the settings that only the checkpoint shows that somebody gave the trainer.

    Of those that the next start is seen to be given, ``parameters`` says what is refused.
    """
    name = "max_prompt_length"
    prompt = subject.trained.arguments.get(name)
    if prompt in {None, _OLD_DEFAULT_PROMPT} or not subject.given:
        return frozenset()
    return frozenset() if subject.parameters.next_start(name) else frozenset({name})


def code_theme(subject: Subject) -> Section:
    """Examine: whether the training's own code is whole.

    Raises:
        UsageError: There is none where the user said.
    """
    if subject.wishes.code is None:
        return Section("code", "not looked at; --code names it")
    version = subject.interpreter.version if subject.interpreter is not None else None
    newer = version is not None and _numbers(version) > sys.version_info[:2]
    facts = package_facts(subject.wishes.code, newer=newer)
    return Section(
        "code",
        package.summary(facts),
        tuple(package.check(facts)),
        {
            "modules": sorted(facts.modules),
            "left_out": facts.left_out,
        },
    )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def disk_theme(subject: Subject) -> Section:
    """Examine: whether what is to come fits on the disk."""
    facts = places.disk_facts(
        subject.run,
        subject.host,
        subject.listed,
        subject.trained,
        subject.state,
        count=len(subject.names),
    )
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


def permissions_theme(subject: Subject) -> Section:
    """Examine: who may read and write the run."""
    facts = places.permission_facts(subject.run, subject.host, subject.listed)
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


def clock_theme(subject: Subject) -> Section:
    """Examine: whether the clocks of files and machine agree."""
    daemon = subject.known.daemon
    facts = clock.ClockFacts(
        now=subject.host.now,
        newest=subject.listed.newest_file(),
        recorded=None if daemon is None else daemon.at.timestamp(),
        network=subject.network,
    )
    return Section(
        "clock",
        clock.summary(facts),
        tuple(clock.check(facts)),
        {"newest_file": None if facts.newest is None else facts.newest[0]},
    )


def limits_theme(subject: Subject) -> Section:
    """Examine: what the kernel grants."""
    proc = subject.host.proc
    watches, instances = kernel.inotify_limits(proc)
    used_watches, used_instances = kernel.inotify_use(proc, subject.host.uid)
    facts = limits.LimitFacts(
        max_watches=watches,
        max_instances=instances,
        used_watches=used_watches,
        used_instances=used_instances,
        needed_watches=_watches_needed(subject),
        open_files=subject.host.open_files,
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


def _watches_needed(subject: Subject) -> int:
    """Return how many directories a daemon would watch; 0 where one does, or would poll."""
    if not subject.given or subject.network:
        return 0
    if (
        subject.state is not None
        and (found := holder(subject.state.lock)) is not None
        and found.held
    ):
        return 0
    logs = sum(each.segments for each in subject.tracker.local) * 2
    # The run itself, and a spare one for the curriculum's directory.
    return 2 + len(subject.listed.listings) + len(subject.tracker.directories) + logs
