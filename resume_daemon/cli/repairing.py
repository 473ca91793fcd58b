"""How commands that change a run get hold of it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from resume_daemon.backup.destinations import Destination
    from resume_daemon.repair.engine import Engine
    from resume_daemon.state_directory import StateDirectory


@contextmanager
def working(
    run: Path, state_dir: Path | None, elsewhere: Destination | None = None
) -> Iterator[tuple[Engine, StateDirectory]]:
    """Yield what changes a run, while nobody else does: no daemon, and no second repair."""
    from resume_daemon.lock import RunLock  # noqa: PLC0415 - heavy imports wait
    from resume_daemon.repair.engine import engine_of  # noqa: PLC0415 - as above
    from resume_daemon.state_directory import choose_state_directory  # noqa: PLC0415 - as above

    state = choose_state_directory(run, state_dir)
    state.prepare()
    with RunLock(state.lock), engine_of(state, run.name, elsewhere) as engine:
        yield engine, state
