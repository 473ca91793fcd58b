"""Runs of a real trainer that the tests share; each is trained once per session."""

from __future__ import annotations

import base64
import os
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from tests.daemon.conftest import RunningDaemon
from tests.real.running import (
    PATIENCE,
    Receiver,
    RunningTrainer,
    segments,
    wait_until,
    wandb_rows,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from resume_daemon.ledger.queries import RunState
    from tests.real.running import Delivered, Row

KINDS = ("full", "lora")
SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()

CONFIGURATION = """\
run: {run}
watch: {{settle_seconds: 1}}
trackers: {{wandb: {{poll_seconds: 1}}}}
alerts:
  sinks:
    - type: webhook
      name: pager
      url: {url}
      secret_file: {secret}
"""

PACE = ("--pause-per-step", "0.3")
"""The curriculum is rewritten at each step; this is how long the daemon has to see a version."""


@dataclass
class WatchedRun:
    """A run that a daemon watched from its beginning to its end.

    Attributes:
        home: The directory above the run, with W&B's directory in it.
        daemon: The daemon, which has ended, with its ledger.
        delivered: Every message that the webhook got.
        killed_after: The step after which the first trainer was killed, if it was.
        resumed_from: The step of the checkpoint that the second one resumed from.
    """

    home: Path
    daemon: RunningDaemon
    delivered: list[Delivered] = field(default_factory=list)
    killed_after: int = 0
    resumed_from: int = 0

    @property
    def run(self) -> Path:
        """The run directory."""
        return self.daemon.run

    def state(self) -> RunState:
        """Return what the ledger says."""
        return self.daemon.state()


@contextmanager
def watched(home: Path) -> Iterator[tuple[WatchedRun, RunningTrainer]]:
    """Start a daemon on an empty run; at the end stop it, and end what is left of the trainer."""
    run = home / "run"
    run.mkdir()
    # Another run's log lies in W&B's directory already, as in any project's second week. So the
    # daemon finds the directory at once, and not when it looks for one again after 30 s.
    other = home / "wandb" / "offline-run-20250101_000000-other"
    other.mkdir(parents=True)
    os.utime(other, (0, 0))
    secret = home / "secret"
    secret.write_text(SECRET)
    secret.chmod(0o600)
    config = home / "config.yaml"
    trainer = RunningTrainer(run)
    with Receiver() as receiver:
        config.write_text(CONFIGURATION.format(run=run, url=receiver.url, secret=secret))
        daemon = RunningDaemon(run, config)
        daemon.start()
        try:
            yield WatchedRun(home, daemon, receiver.delivered), trainer
        finally:
            trainer.kill()
            if daemon.process is not None and daemon.process.poll() is None:
                daemon.kill()


def settled(state: RunState, *steps: int) -> bool:
    """Return whether each checkpoint has all that it is owed: a verdict, a snapshot, a pair."""
    names = {f"checkpoint-{step}" for step in steps}
    return (
        names <= set(state.checkpoints)
        and names <= set(state.pair_at_checkpoint)
        and all(
            name in state.snapshots
            and state.snapshots[name].fingerprint == state.checkpoints[name].fingerprint
            for name in names
        )
    )


def _healthy(kind: str, home: Path) -> WatchedRun:
    with watched(home) as (found, trainer):
        trainer.start("--max-steps", "15", *PACE, *_arguments(kind))
        trainer.finish()
        found.daemon.wait_for(lambda state: settled(state, 5, 10, 15), PATIENCE)
        assert found.daemon.stop() == 0
        # A second daemon judges the finished run once more, and has nothing to say either.
        found.daemon.start("--once")
        assert found.daemon.process is not None
        assert found.daemon.process.wait(PATIENCE) == 0, found.daemon.log.read_text()
    return found


def _resumed(kind: str, home: Path) -> WatchedRun:
    with watched(home) as (found, trainer):
        found.killed_after, found.resumed_from = 13, 5
        trainer.start(
            "--max-steps", "20", "--hold-after", str(found.killed_after), *PACE, *_arguments(kind)
        )
        trainer.wait_for_step(found.killed_after)
        wait_until(
            lambda: any(row.trainer_step == found.killed_after for row in _first_rows(home)),
            f"the row of step {found.killed_after} in W&B's log",
        )
        found.daemon.wait_for(lambda state: settled(state, 5, 10), PATIENCE)
        trainer.kill()
        again = RunningTrainer(found.run)
        try:
            again.start(
                "--max-steps",
                "20",
                "--resume-from",
                str(found.run / f"checkpoint-{found.resumed_from}"),
                *PACE,
                *_arguments(kind),
                resume="must",
            )
            again.finish()
        finally:
            again.kill()
        newest = segments(home)[-1].name
        found.daemon.wait_for(
            lambda state: (
                settled(state, 5, 10, 15, 20)
                and state.pair_at_checkpoint["checkpoint-20"].segment == newest
            ),
            PATIENCE,
        )
        assert found.daemon.stop() == 0
    return found


def _first_rows(home: Path) -> list[Row]:
    found = segments(home)
    return wandb_rows(found[0]) if found else []


def _arguments(kind: str) -> tuple[str, ...]:
    return ("--peft",) if kind == "lora" else ()


@pytest.fixture(scope="session")
def healthy_full(tmp_path_factory: pytest.TempPathFactory) -> WatchedRun:
    """Return a run of 15 steps that nothing happened to, of a model trained whole."""
    return _healthy("full", tmp_path_factory.mktemp("healthy-full"))


@pytest.fixture(scope="session")
def healthy_lora(tmp_path_factory: pytest.TempPathFactory) -> WatchedRun:
    """Return the same with a low-rank adapter."""
    return _healthy("lora", tmp_path_factory.mktemp("healthy-lora"))


@pytest.fixture(scope="session", params=KINDS)
def healthy(request: pytest.FixtureRequest) -> WatchedRun:
    """Return each of the two healthy runs."""
    found: WatchedRun = request.getfixturevalue(f"healthy_{request.param}")
    return found


@pytest.fixture(scope="session", params=KINDS)
def resumed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> WatchedRun:
    """Return a run that was killed after step 13, and resumed from step 5 up to 20."""
    return _resumed(request.param, tmp_path_factory.mktemp(f"resumed-{request.param}"))
