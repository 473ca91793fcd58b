"""Where our own files are: beside the run if it can be written, and in the user's state if not."""

from __future__ import annotations

import errno
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from blake3 import blake3

from resume_daemon.errors import ResumeDaemonError, UsageError, VanishedError
from resume_daemon.files import write_all, write_atomic

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SIDECAR = ".resume_daemon"
"""The name of the sidecar in a run."""

_README = b"""\
Written by resume-daemon, which watches the run that this directory stands in or is named after.
ledger.jsonl records what became of each checkpoint, snapshots/ holds the curriculum of each.
The trainer does not read it. Delete it only if you want to lose that history.
"""


@dataclass(frozen=True, slots=True)
class StateDirectory:
    """The sidecar of one run.

    Attributes:
        path: The directory; every name below is in it.
        reason: Why it is there, in words to be logged once.
    """

    path: Path
    reason: str

    @property
    def ledger(self) -> Path:
        """The record of everything, one JSON line each."""
        return self.path / "ledger.jsonl"

    @property
    def manifests(self) -> Path:
        """The directory of manifests, one file per checkpoint."""
        return self.path / "manifests"

    @property
    def snapshots(self) -> Path:
        """The directory of snapshots, one directory per checkpoint."""
        return self.path / "snapshots"

    @property
    def curriculum(self) -> Path:
        """The directory of curriculum states that were seen between checkpoints."""
        return self.path / "curriculum"

    @property
    def small_files(self) -> Path:
        """The directory of small files of sound checkpoints, one file per content."""
        return self.path / "small_files"

    @property
    def quarantine(self) -> Path:
        """The directory into which a repair moves what it takes away."""
        return self.path / "quarantine"

    @property
    def repairs(self) -> Path:
        """The directory of repairs, one each: what it did, and what was there before."""
        return self.path / "repairs"

    @property
    def resume_env(self) -> Path:
        """The environment file for the next start of the trainer."""
        return self.path / "resume.env"

    @property
    def lock(self) -> Path:
        """The lock that one daemon holds."""
        return self.path / "lock"

    @property
    def index(self) -> Path:
        """The SQLite index of the ledger, which may be deleted at any time."""
        return self.path / "index.db"

    def prepare(self) -> None:
        """Make the directories that are missing, and tell strangers and git what this is.

        Raises:
            ResumeDaemonError: They cannot be made.
        """
        try:
            for directory in (self.manifests, self.snapshots, self.curriculum, self.quarantine):
                directory.mkdir(parents=True, exist_ok=True)
            for name, content in ((".gitignore", b"*\n"), ("README.txt", _README)):
                if not (self.path / name).exists():
                    write_atomic(self.path / name, content)
        except OSError as error:
            raise ResumeDaemonError(
                "prepare the state directory", self.path, error.strerror or str(error)
            ) from error


def choose_state_directory(
    run: Path, configured: Path | None, environ: Mapping[str, str] = os.environ
) -> StateDirectory:
    """Return where the daemon keeps its files on ``run``; the directory exists and was written to.

    A run that is not writable (another user's, a read-only mount) sends it to the user's state
    directory. A full disk does not, where the run has a ledger already: two halves of a record are
    worth less than one that waits for room. The user's state directory is ``$STATE_DIRECTORY``
    (systemd.exec(5)), ``$XDG_STATE_HOME`` or ``~/.local/state`` (XDG Base Directory Specification
    0.8).

    Args:
        run: The run directory.
        configured: The setting ``state_dir``; where it is given, nothing else is tried.
        environ: The process's environment.

    Raises:
        UsageError: ``configured`` cannot be written.
        VanishedError: The run is not there (yet): it is not made here, since some trainers refuse
            an output directory that is not empty.
        ResumeDaemonError: No place can be written.
    """
    if configured is not None:
        path = configured / _own_name(run)
        obstacle = _obstacle(path, parents=True)
        if obstacle is not None and not _waits_for_room(path, obstacle):
            hint = "Give the daemon's user the right to write there, or change state_dir."
            raise UsageError("write to the state directory", path, _words(obstacle), hint=hint)
        return StateDirectory(path, "the configuration asks for it")
    if not run.is_dir():
        hint = "It is looked for again; name state_dir to begin without it."
        raise VanishedError("keep state in", run, "the run directory is not there", hint=hint)
    obstacles: list[str] = []
    for path, why in _places(run, environ):
        # The run is never made, and everything above a state directory may be.
        obstacle = _obstacle(path, parents=path != run / SIDECAR)
        if obstacle is not None and _waits_for_room(path, obstacle):
            return StateDirectory(path, "its ledger is there; the disk is full")
        if obstacle is None:
            reason = "; ".join([*obstacles, f"so it is in {path}, {why}"] if obstacles else [why])
            return StateDirectory(path, reason)
        obstacles.append(f"{path} cannot be written ({_words(obstacle)})")
    raise ResumeDaemonError(
        "keep state on", run, "; ".join(obstacles), hint="Name a writable state_dir."
    )


def find_state_directory(
    run: Path, configured: Path | None, environ: Mapping[str, str] = os.environ
) -> StateDirectory | None:
    """Return where the daemon's files on ``run`` are, or None; nothing is made.

    Where several places have some, as after a run became read-only, the one whose ledger changed
    last is current.
    """
    if configured is not None:
        places = [(configured / _own_name(run), "the configuration asks for it")]
    else:
        places = list(_places(run, environ))
    # os.path.isdir: that of Path raises below a directory that may not be entered.
    there = [StateDirectory(*place) for place in places if os.path.isdir(place[0])]  # noqa: PTH112  See above.
    return max(there, key=_last_change, default=None)


def _places(run: Path, environ: Mapping[str, str]) -> Iterator[tuple[Path, str]]:
    """Yield where the sidecar may be, best first, each with why."""
    yield run / SIDECAR, "it is beside the run"
    name = _own_name(run)
    # systemd gives several directories with colons between them; the first is the service's own.
    if service := environ.get("STATE_DIRECTORY", "").partition(":")[0]:
        yield Path(service) / name, "the service's STATE_DIRECTORY"
    state = Path(environ.get("XDG_STATE_HOME", ""))
    # The specification has relative paths ignored.
    if state.is_absolute():
        yield state / "resume_daemon" / name, "below XDG_STATE_HOME"
    elif home := environ.get("HOME"):
        yield Path(home) / ".local/state/resume_daemon" / name, "the user's state directory"


def _own_name(run: Path) -> str:
    """Return the run's name in a directory that many runs share: readable, and never the same."""
    real = os.path.realpath(run)
    return f"{os.path.basename(real)}-{blake3(os.fsencode(real)).hexdigest()[:8]}"  # noqa: PTH119  The path is a str here.


def _obstacle(path: Path, *, parents: bool) -> OSError | None:
    """Return why a file cannot be kept in ``path``, which is made, or None.

    A file is really written: rights, read-only mounts and quotas are not told apart by asking.
    """
    probe = path / f".probe.{secrets.token_hex(4)}"
    try:
        path.mkdir(parents=parents, exist_ok=True)
        fd = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            write_all(fd, b"\n")
            os.fsync(fd)  # NFS and quotas may refuse as late as here.
        finally:
            os.close(fd)
            probe.unlink()
    except OSError as error:
        return error
    return None


def _waits_for_room(path: Path, obstacle: OSError) -> bool:
    """Return whether only room is missing to go on with the ledger that is there."""
    return obstacle.errno in {errno.ENOSPC, errno.EDQUOT} and (path / "ledger.jsonl").is_file()


def _words(error: OSError) -> str:
    return error.strerror or str(error)


def _last_change(state: StateDirectory) -> int:
    try:
        return state.ledger.stat().st_mtime_ns
    except OSError:
        return 0
