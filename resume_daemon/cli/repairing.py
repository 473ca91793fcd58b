"""How commands that change a run get hold of it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from resume_daemon.cli.planning import note, run_and_state

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


def settle_interrupted(run: Path, state_dir: Path | None) -> None:
    """Finish or take back a repair that was interrupted, before anything starts from its files.

    Raises:
        HeldError: A repair is at work now, or a daemon that could not settle it watches the run.
        ResumeDaemonError: It can be neither finished nor taken back now.
    """
    from resume_daemon.repair.store import RepairStore  # noqa: PLC0415 - heavy imports wait

    real, state = run_and_state(run, state_dir, "plan a resume of")
    if state is None or not RepairStore(state.repairs).interrupted():
        return
    with working(real, state_dir) as (engine, _):
        for sentence in engine.recover():
            note(sentence)
