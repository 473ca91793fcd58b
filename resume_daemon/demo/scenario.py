"""The play: a real trainer, a real daemon beside it, and three accidents that happen in real runs.

Everything that is shown of the daemon comes from its ledger.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from resume_daemon.demo.home import make_home, write_configuration, zero_second_half
from resume_daemon.demo.ledger_view import LedgerView
from resume_daemon.demo.outcome import (
    HALF_WRITTEN,
    RESUMED_FROM,
    ZEROED,
    Alerts,
    chain_difference,
    differences,
    is_settled,
)
from resume_daemon.demo.processes import child_environment, started
from resume_daemon.demo.receiver import Receiver
from resume_daemon.demo.screen import Screen
from resume_daemon.demo.summary import summary
from resume_daemon.errors import ResumeDaemonError
from resume_daemon.state_directory import SIDECAR, StateDirectory

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

SECONDS_PER_STEP: Final = 0.15
"""How long the trainer takes for a step: slow enough to be watched."""

_STEPS: Final = 40
_LAST_STEP: Final = 32
_LOOK_SECONDS: Final = 0.05
_START_SECONDS: Final = 30.0
_TRAINING_SECONDS: Final = 90.0
_SETTLED_SECONDS: Final = 30.0
_STOP_SECONDS: Final = 10.0


def play(directory: Path | None, *, seconds_per_step: float = SECONDS_PER_STEP) -> int:
    """Play it; return 0 if what the daemon recorded is what was done, and 1 if not.

    Args:
        directory: Where the run and all logs are kept; None makes a temporary directory.
        seconds_per_step: How long the trainer takes for a step.

    Raises:
        UsageError: The directory is not empty, or cannot be made.
        ResumeDaemonError: The daemon or a trainer did not start or end as it should.
    """
    home = make_home(directory)
    # The others must not outlive the demo when a terminal closes or somebody ends it.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    with Receiver() as receiver, Screen() as screen:
        return _Play(home, receiver, screen, seconds_per_step).play()


class _Play:
    """One performance in ``home``."""

    def __init__(
        self, home: Path, receiver: Receiver, screen: Screen, seconds_per_step: float
    ) -> None:
        self._home = home
        self._run = home / "run"
        self._receiver = receiver
        self._screen = screen
        self._seconds_per_step = seconds_per_step
        self._environment = child_environment(os.environ, home, receiver.secret)
        self._sidecar = StateDirectory(self._run / SIDECAR, "")
        self._view = LedgerView(self._sidecar.ledger)

    def play(self) -> int:
        self._run.mkdir()
        self._screen.say(f"the daemon starts beside an empty run ({self._run})")
        configuration = write_configuration(self._home, self._run, self._receiver.url)
        with ExitStack() as stack:
            daemon = self._start(stack, "daemon", "resume_daemon", "run", "-c", str(configuration))
            self._wait_for_daemon(daemon)
            self._first_trainer()
            second_start = datetime.now(UTC)
            self._second_trainer()
            self._screen.say("the daemon comes to its last verdicts")
            self._wait(
                lambda: is_settled(self._view.state, self._alerts(), second_start),
                _SETTLED_SECONDS,
            )
            self._screen.say("the daemon is stopped (SIGTERM)")
            daemon.terminate()
            self._wait(lambda: daemon.poll() is not None, _STOP_SECONDS)
            status = daemon.poll()
        return self._judge(status)

    def _first_trainer(self) -> None:
        self._screen.say(f"trainer 1 learns and saves; {HALF_WRITTEN} will be its last")
        with ExitStack() as stack:
            arguments = ("--save-steps", "5", "--die-while-saving", _step(HALF_WRITTEN))
            trainer = self._start_trainer(stack, 1, *arguments)
            self._wait_for_end(trainer, 1, -signal.SIGKILL)

    def _second_trainer(self) -> None:
        self._screen.say(
            f"trainer 1 was killed while it wrote {HALF_WRITTEN}; trainer 2 resumes from "
            f"{RESUMED_FROM}, but W&B and the curriculum do not go back"
        )
        with ExitStack() as stack:
            arguments = ("--save-steps", "10", "--resume-from", str(self._run / RESUMED_FROM))
            trainer = self._start_trainer(stack, 2, *arguments)
            last = self._run / ZEROED / "trainer_state.json"
            self._wait(lambda: last.exists() or trainer.poll() is not None, _TRAINING_SECONDS)
            if last.exists():
                zero_second_half(self._run / ZEROED / "model.safetensors")
                self._screen.say(f"the second half of the weights of {ZEROED} became zeros")
            self._wait_for_end(trainer, 2, 0)

    def _judge(self, daemon_status: int | None) -> int:
        self._view.update()
        chain = self._view.verify()
        found = list(differences(self._view.state, self._alerts()))
        if (broken := chain_difference(chain)) is not None:
            found.append(broken)
        if daemon_status != 0:
            found.append(f"the daemon should end with status 0; it ended with {daemon_status}")
        self._screen.close()
        self._screen.print(
            *summary(
                self._view.state,
                self._alerts(),
                records=chain.records,
                differences=found,
                home=self._home,
                run=self._run,
                sidecar=self._sidecar.path,
            )
        )
        return 1 if found else 0

    def _alerts(self) -> Alerts:
        arrived, refused = len(self._receiver.arrived), self._receiver.refused
        return Alerts(self._view.delivered, arrived, refused)

    def _start_trainer(
        self, stack: ExitStack, number: int, *arguments: str
    ) -> subprocess.Popen[bytes]:
        common = {
            "--output": self._run,
            "--steps": _STEPS,
            "--until": _LAST_STEP,
            "--wandb-id": "demo",
            "--seconds-per-step": self._seconds_per_step,
        }
        options = [str(part) for pair in common.items() for part in pair]
        name = f"trainer-{number}"
        return self._start(stack, name, "resume_daemon.demo.trainer", *options, *arguments)

    def _start(self, stack: ExitStack, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        log = self._home / f"{name}.log"
        return stack.enter_context(started(arguments, log=log, environment=self._environment))

    def _wait_for_daemon(self, daemon: subprocess.Popen[bytes]) -> None:
        view = self._view
        self._wait(
            lambda: view.state.daemon is not None or daemon.poll() is not None, _START_SECONDS
        )
        if view.state.daemon is None or daemon.poll() is not None:
            raise self._failed("the daemon", "daemon", f"it did not start ({daemon.poll()})")

    def _wait_for_end(self, trainer: subprocess.Popen[bytes], number: int, status: int) -> None:
        self._wait(lambda: trainer.poll() is not None, _TRAINING_SECONDS)
        if trainer.poll() != status:
            reason = f"its exit status is {trainer.poll()}, not {status}"
            raise self._failed(f"trainer {number}", f"trainer-{number}", reason)

    def _failed(self, what: str, log: str, reason: str) -> ResumeDaemonError:
        path = self._home / f"{log}.log"
        return ResumeDaemonError(f"play the demo with {what}", None, reason, hint=f"See {path}.")

    def _wait(self, until: Callable[[], bool], seconds: float) -> None:
        """Show what the ledger says until something is true, or the time is over."""
        deadline = time.monotonic() + seconds
        while True:
            self._view.update()
            self._screen.show(self._view.state, len(self._receiver.arrived))
            if until() or time.monotonic() > deadline:
                return
            time.sleep(_LOOK_SECONDS)


def _step(checkpoint: str) -> str:
    return checkpoint.rpartition("-")[2]
