"""What is examined: facts that several themes need, each gathered once and only if asked for."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from resume_daemon.doctor import dependencies, places
from resume_daemon.doctor.distributions import Installed, installed_in
from resume_daemon.doctor.interpreter import (
    default_interpreter,
    interpreter_at,
    named_interpreter,
)
from resume_daemon.doctor.tracker_logs import (
    Logs,
    logs_of,
    recorded_ids,
    recorded_python,
    tracker_facts,
)
from resume_daemon.doctor.tracking import TrackerFacts
from resume_daemon.doctor.trained import Trained, trained
from resume_daemon.layouts.registry import checkpoints_in
from resume_daemon.ledger.queries import RunState, fold
from resume_daemon.ledger.reader import read_records
from resume_daemon.resume.survey import Wishes as PlanWishes
from resume_daemon.resume.survey import survey
from resume_daemon.resume.tracker import VARIABLES
from resume_daemon.verification import Depth, Options
from resume_daemon.watching.filesystem import filesystem_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from resume_daemon.doctor.host import Host
    from resume_daemon.doctor.interpreter import Interpreter
    from resume_daemon.errors import LedgerError
    from resume_daemon.parameters.facts import Facts as ParameterFacts
    from resume_daemon.resume.plan import ResumePlan
    from resume_daemon.state_directory import StateDirectory

_RECENT = 4
"""Checkpoints that a brief examination lists: on a network file system each file costs a look."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the user asks for.

    Attributes:
        python: The trainer's interpreter, or None for the one on PATH.
        checkpoint: Name of the only checkpoint that is considered, or None for all.
        degraded: Whether a degraded checkpoint will do.
        deep: Whether every byte is read of what no daemon has verified.
        run_id: The W&B run that goes on, where there are several.
        code: The training's own code, a package or a file; None where it is not looked at.
        brief: Whether only what may refuse a start is looked at.
    """

    python: Path | None = None
    checkpoint: str | None = None
    degraded: bool = False
    deep: bool = False
    run_id: str | None = None
    code: Path | None = None
    brief: bool = False


class Subject:
    """A run and its surroundings.

    Attributes:
        run: The run directory with its links resolved; the working directory where none was given.
        state: Where the daemon's files are, or None where none has watched.
        host: The machine.
        wishes: What the user asks for.
        damages: Lines of the ledger that were passed over, once ``known`` was asked for.
    """

    def __init__(
        self,
        run: Path | None,
        state: StateDirectory | None,
        host: Host,
        wishes: Wishes,
        *,
        watch: Callable[[Path], Callable[[int], None]] = lambda _: lambda _: None,
    ) -> None:
        self.given = run is not None
        self.run = run if run is not None else Path.cwd()
        self.state = state
        self.host = host
        self.wishes = wishes
        self.damages: list[LedgerError] = []
        self._watch = watch

    @cached_property
    def names(self) -> list[str]:
        """The checkpoints, by step."""
        return checkpoints_in(self.run) if self.given else []

    @cached_property
    def listed(self) -> places.Listed:
        """Their listings; of the newest alone where the examination is brief."""
        return places.listed(self.run, self.names[-_RECENT:] if self.wishes.brief else self.names)

    @cached_property
    def known(self) -> RunState:
        """What the ledger says; a line that is damaged is noted in ``damages`` and passed over."""
        if self.state is None:
            return RunState()
        return fold(read_records(self.state.ledger, on_damage=self.damages.append))

    @cached_property
    def plan(self) -> ResumePlan:
        """What to start now."""
        return survey(
            self.run,
            self.state,
            PlanWishes(
                degraded=self.wishes.degraded,
                checkpoint=self.wishes.checkpoint,
                run_id=self.wishes.run_id,
            ),
            options=Options(depth=Depth.DEEP if self.wishes.deep else Depth.QUICK),
            names=self.names,
            known=self.known,
            watch=self._watch,
        )

    @cached_property
    def trained(self) -> Trained:
        """What the newest checkpoint says of its training."""
        newest = self.wishes.checkpoint or next(reversed(self.names), None)
        return trained(Path(os.path.realpath(self.run / newest))) if newest else Trained()

    @cached_property
    def interpreter(self) -> Interpreter | None:
        """The trainer's Python.

        Raises:
            UsageError: There is none where the user said.
        """
        environ = self.host.environ
        if self.wishes.python is not None:
            return named_interpreter(self.wishes.python, environ)
        ids = recorded_ids(self.known) or tuple(self.logs.segments)
        noted = recorded_python(self.logs, ids) if self.given else None
        if noted is not None:
            path, segment = noted
            return interpreter_at(path, f"as W&B noted in {segment}", environ)
        return default_interpreter(environ)

    @cached_property
    def logs(self) -> Logs:
        """Logs of W&B on this machine that may be of the run."""
        if not self.given:
            return Logs()
        return logs_of(self.run, self.host, self.listed.since(self.host.now))

    @cached_property
    def installed(self) -> Installed:
        """Its packages."""
        if self.interpreter is None:
            return Installed()
        return installed_in(self.interpreter.directories, frozenset(dependencies.PACKAGES))

    @cached_property
    def tracker(self) -> TrackerFacts:
        """What is known of the tracker's side."""
        if not self.given:
            return TrackerFacts()
        recorded = recorded_ids(self.known)
        if self.wishes.brief and (
            recorded or not any(self.host.environ.get(name) for name in VARIABLES)
        ):
            return TrackerFacts(recorded=recorded, named=self.wishes.run_id)
        wandb = None if self.wishes.brief else self.installed.first.get("wandb")
        return tracker_facts(
            self.logs,
            self.host,
            recorded,
            named=self.wishes.run_id,
            wandb_version=wandb.version if wandb is not None else None,
        )

    @cached_property
    def parameters(self) -> ParameterFacts:
        """What the run was, and will be, trained with.

        Raises:
            ResumeDaemonError: The run cannot be listed.
        """
        from resume_daemon.parameters.survey import Request  # noqa: PLC0415 - only of a run
        from resume_daemon.parameters.survey import survey as read_all  # noqa: PLC0415 - as above

        request = Request(self.wishes.checkpoint, names=tuple(self.names))
        if self.wishes.brief:
            request = replace(request, most=1)
        found = read_all(self.run, self.state, request, self.host.environ)
        if self.wishes.brief or not self.believed:
            return found
        return replace(found, versions={d.name: d.version for d in self.installed.first.values()})

    @property
    def believed(self) -> bool:
        """Whether the interpreter is the trainer's, as far as can be told."""
        found = self.interpreter
        return found is not None and (found.chosen or "torch" in self.installed.first)

    @cached_property
    def network(self) -> bool:
        """Whether the run lies on a network file system."""
        mounts = self.host.proc / "self" / "mountinfo"
        try:
            text = mounts.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return False
        return filesystem_of(self.run, text).network
