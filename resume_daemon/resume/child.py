"""The trainer as a child: signals go to it, and its end is told as shells tell it."""

from __future__ import annotations

import os
import signal
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import FrameType

_FORWARDED = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
)
_STOPS = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT})
"""Signals that ask for an end. SIGUSR1 and SIGUSR2 mean what the trainer makes of them (Slurm sends
them before the time is up)."""

_OF_THE_TERMINAL = frozenset({signal.SIGINT, signal.SIGQUIT})


@dataclass(frozen=True, slots=True)
class Ended:
    """How the trainer ended.

    Attributes:
        status: Its exit status; 128 and the number of the signal that ended it.
        asked_to_stop: Whether somebody asked for an end, so that it must not start again.
    """

    status: int
    asked_to_stop: bool


def run_child(words: Sequence[str], environ: Mapping[str, str]) -> Ended:
    """Run a command to its end, with every signal that this process is sent.

    Raises:
        OSError: It cannot be started.
    """
    asked = False
    child: subprocess.Popen[bytes] | None = None
    early: list[int] = []

    def forward(number: int, _: FrameType | None) -> None:
        nonlocal asked
        asked = asked or number in _STOPS
        if child is None:
            early.append(number)
        elif not (number in _OF_THE_TERMINAL and _in_foreground()):
            # What is typed at a terminal is sent to the child by the kernel.
            child.send_signal(number)

    before = {number: signal.signal(number, forward) for number in _FORWARDED}
    try:
        child = subprocess.Popen(words, env=dict(environ))  # noqa: S603 - it is what was asked for
        for number in early:
            child.send_signal(number)
        status = child.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return Ended(status if status >= 0 else 128 - status, asked)


def _in_foreground() -> bool:
    """Return whether this process group has the terminal, so that its keys reach all of it."""
    try:
        with open("/dev/tty", "rb") as terminal:  # noqa: PTH123 - it is no file
            return os.tcgetpgrp(terminal.fileno()) == os.getpgrp()
    except OSError:
        return False
