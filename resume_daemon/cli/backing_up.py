"""What ``backup`` and ``restore`` have in common: where backups are, and how hard is worked."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from resume_daemon.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from resume_daemon.backup.address import Address
    from resume_daemon.backup.pace import Pace
    from resume_daemon.config.settings import Settings
    from resume_daemon.ledger.queries import RunState
    from resume_daemon.state_directory import StateDirectory

CONFIG: Any = typer.Option(
    None, "--config", "-c", metavar="FILE", help="The daemon's configuration."
)

_MIB = 1024 * 1024

Result = TypeVar("Result")


def settings_of(config: Path | None, run: Path) -> Settings:
    """Return the daemon's configuration of a run; the defaults where none is given.

    Raises:
        UsageError: It cannot be used, or is that of another run.
    """
    from resume_daemon.config.load import load_settings  # noqa: PLC0415 - heavy imports wait
    from resume_daemon.config.settings import Settings  # noqa: PLC0415 - as above

    if config is None:
        return Settings()
    settings = load_settings(config, {})
    if settings.run is not None and Path(settings.run).resolve() != run.resolve():
        raise UsageError("back up", run, f"{config} is the configuration of {settings.run}")
    return settings


def ledger_of(run: Path, state_dir: Path | None) -> tuple[StateDirectory | None, RunState]:
    """Return a run's sidecar and what its ledger says; nothing where no daemon has watched it.

    Raises:
        ResumeDaemonError: The ledger cannot be read.
    """
    from resume_daemon.ledger.queries import RunState, fold  # noqa: PLC0415 - heavy imports wait
    from resume_daemon.ledger.reader import read_records  # noqa: PLC0415 - as above
    from resume_daemon.state_directory import find_state_directory  # noqa: PLC0415 - as above

    state = find_state_directory(run, state_dir)
    if state is None or not state.ledger.exists():
        return None, RunState()
    return state, fold(read_records(state.ledger))


def address_of(
    given: str | None, option: str, settings: Settings, known: RunState, run: Path
) -> Address:
    """Return where the backups of a run are: as given, as configured, or where the last one went.

    Raises:
        UsageError: Nothing says where, or it cannot be there.
    """
    from resume_daemon.backup.address import check_apart, parse_address  # noqa: PLC0415 - heavy imports wait

    last = max(known.backups.values(), key=lambda each: each.seq, default=None)
    text = given or settings.backup.to or (last.destination if last is not None else None)
    if text is None:
        raise UsageError(
            "find the backups of",
            run,
            "nothing says where they are",
            hint=f"Give {option} with a directory or a URL such as s3://bucket/prefix, or --config "
            "with a file that sets backup.to.",
        )
    address = parse_address(text)
    check_apart(address, run)
    return address


def paced(
    work: Callable[[Pace], Result],
    settings: Settings,
    tell: Callable[[int], None],
    *,
    idle: bool = True,
) -> Result:
    """Do what reads a checkpoint no harder than a verification does.

    In a thread of its own: the priority is that of a thread, and cannot be raised again.

    Args:
        work: What to do.
        settings: The daemon's configuration.
        tell: Told the bytes of each read of a checkpoint.
        idle: Whether the training goes first, where ``verify.priority`` says so.
    """
    from resume_daemon.backup.pace import Pace  # noqa: PLC0415 - heavy imports wait
    from resume_daemon.reading.priority import lower_priority  # noqa: PLC0415 - as above

    stopped = threading.Event()
    limits = [settings.verify.read_mib_per_second, settings.backup.mib_per_second]
    given = [each for each in limits if each is not None]
    lowered = idle and settings.verify.priority == "idle"
    pace = Pace(
        max(int(min(given) * _MIB), 1) if given else None,
        keep_page_cache=settings.verify.keep_page_cache,
        give_way=lowered,
        cancelled=stopped.is_set,
        progress=tell,
    )
    with ThreadPoolExecutor(1, initializer=lower_priority if lowered else None) as pool:
        try:
            return pool.submit(work, pace).result()
        finally:
            # Ctrl-C reaches this thread alone.
            stopped.set()
