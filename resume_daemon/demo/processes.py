"""The daemon and the trainers of the demo: processes of their own, each with its log in a file."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

SECRET_VARIABLE: Final = "RESUME_DAEMON_DEMO_SECRET"  # noqa: S105 - its name, not the secret

_STOP_SECONDS: Final = 5.0

# What belongs to whoever started the demo: their W&B account, their service manager, their proxy.
_LEFT_OUT: Final = ("WANDB", "NOTIFY_SOCKET", "WATCHDOG_", "JOURNAL_STREAM")


def child_environment(environ: Mapping[str, str], home: Path, secret: str) -> dict[str, str]:
    """Return the environment of daemon and trainers: ours, with W&B's files kept in ``home``."""
    kept = {name: value for name, value in environ.items() if not name.startswith(_LEFT_OUT)}
    caches = {f"WANDB_{name}_DIR": str(home / "wandb") for name in ("CACHE", "CONFIG", "DATA")}
    return {**kept, **caches, SECRET_VARIABLE: secret, "NO_PROXY": "127.0.0.1"}


@contextmanager
def started(
    arguments: Sequence[str], *, log: Path, environment: Mapping[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """Start ``python -m ...``; whatever happens, the process is gone at the end.

    Args:
        arguments: What follows ``python -m``.
        log: File that takes its output.
        environment: Its whole environment.
    """
    with log.open("ab") as output:
        process = subprocess.Popen(  # noqa: S603 - this program itself, with arguments of its own
            [sys.executable, "-m", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(environment),
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(_STOP_SECONDS)
