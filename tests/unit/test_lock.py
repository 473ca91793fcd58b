from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from resume_daemon import __version__, lock
from resume_daemon.errors import FormatError, ResumeDaemonError, UsageError
from resume_daemon.lock import HeldError, RunLock, holder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DAEMON = """
import sys
from pathlib import Path
from resume_daemon.lock import RunLock
with RunLock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.readline()
"""


@contextmanager
def another_daemon(path: Path) -> Iterator[subprocess.Popen[str]]:
    """A second process that holds the lock until its standard input ends."""
    with subprocess.Popen(
        [sys.executable, "-c", DAEMON, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "lock"


def test_a_second_process_is_refused_and_told_who_holds_the_lock_and_what_to_do(
    path: Path,
) -> None:
    with another_daemon(path) as process:
        with pytest.raises(HeldError) as refusal:
            RunLock(path).acquire()
        known = holder(path)
        assert known is not None
        message = str(refusal.value)
        assert f"process {process.pid} on {os.uname().nodename}" in message
        assert known.since in message
        assert f"kill {process.pid}" in message
        assert refusal.value.holder == known
        assert isinstance(refusal.value, UsageError)


def test_a_holder_that_is_killed_frees_the_lock_at_once_and_leaves_its_name(path: Path) -> None:
    with another_daemon(path) as process:
        process.send_signal(signal.SIGKILL)
        process.wait(10)
        known = holder(path)
        assert known is not None
        assert (known.pid, known.held) == (process.pid, False)
        with RunLock(path) as mine:
            assert mine.kind == "flock"


def test_a_holder_that_ends_well_leaves_nobody(path: Path) -> None:
    with another_daemon(path) as process:
        process.communicate("\n", timeout=10)
    assert holder(path) is None
    assert path.exists()


def test_the_holder_says_everything_about_itself(path: Path) -> None:
    with RunLock(path):
        known = holder(path)
        assert known is not None
        assert known.held
        assert known.pid == os.getpid()
        assert known.host == os.uname().nodename
        assert known.version == __version__
        assert set(json.loads(path.read_text())) == {"pid", "host", "since", "version", "command"}


def test_a_shorter_holder_leaves_nothing_of_a_longer_one(path: Path) -> None:
    path.write_text("x" * 5000)
    with RunLock(path):
        assert json.loads(path.read_text())["pid"] == os.getpid()


def test_one_process_does_not_hold_it_twice_either(path: Path) -> None:
    with RunLock(path) as mine:
        with pytest.raises(HeldError):
            RunLock(path).acquire()
        with pytest.raises(HeldError):
            mine.acquire()
        assert mine.kind == "flock"
    with RunLock(path):
        pass


def test_asking_who_holds_it_does_not_take_it_and_makes_nothing(path: Path) -> None:
    assert holder(path) is None
    assert not path.exists()
    with another_daemon(path) as process:
        for _ in range(3):
            assert holder(path) is not None
        process.kill()
        process.wait(10)
        holder(path)
        with RunLock(path):
            pass


def test_a_question_asked_while_a_daemon_starts_does_not_refuse_it(path: Path) -> None:
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(fd, fcntl.LOCK_SH)  # `holder` holds it like this for a moment.
        release = threading.Timer(0.15, fcntl.flock, (fd, fcntl.LOCK_UN))
        release.start()
        with RunLock(path) as mine:
            assert mine.kind == "flock"
        release.join()
    finally:
        os.close(fd)


def test_a_lock_that_is_held_by_someone_who_has_not_said_so_yet_is_still_held(path: Path) -> None:
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        with pytest.raises(HeldError, match="just taken") as refusal:
            RunLock(path).acquire()
        assert refusal.value.holder is None
    finally:
        os.close(fd)


def test_a_lock_file_that_was_replaced_after_it_was_opened_is_not_relied_on(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = fcntl.flock
    seen: list[int] = []

    def flock(fd: int, operation: int) -> None:
        if not seen:
            seen.append(os.fstat(fd).st_ino)
            path.unlink()
        real(fd, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    with RunLock(path) as mine:
        assert mine._fd is not None
        assert os.path.samestat(os.fstat(mine._fd), path.stat())


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b'{"pid": "x"}', b"\xff" * 9000])
def test_a_damaged_lock_file_names_nobody_and_can_be_taken(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    assert holder(path) is None
    with RunLock(path):
        assert holder(path) is not None


def test_a_link_or_a_pipe_in_its_place_is_refused(path: Path) -> None:
    path.symlink_to(path.with_name("elsewhere"))
    with pytest.raises(ResumeDaemonError, match="Cannot take the lock"):
        RunLock(path).acquire()
    assert not path.with_name("elsewhere").exists()
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(FormatError):
        RunLock(path).acquire()


def test_a_directory_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ResumeDaemonError, match="No such file"):
        RunLock(tmp_path / "no" / "lock").acquire()


def test_releasing_or_beating_without_holding_does_nothing(path: Path) -> None:
    mine = RunLock(path)
    mine.release()
    mine.beat()
    assert not path.exists()


@pytest.fixture(params=[errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def _no_locks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A filesystem without locks, at the system call: none can be mounted in a test."""

    def flock(fd: int, operation: int) -> None:
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(fcntl, "flock", flock)
    monkeypatch.setattr(lock, "_SETTLE_SECONDS", 0.0)


without_locks = pytest.mark.usefixtures("_no_locks")
"""There the content is the lock, and its mtime the sign of life."""


def write_holder(path: Path, *, pid: int, host: str, age: float) -> None:
    value = {"pid": pid, "host": host, "since": "then", "version": "1", "command": "x"}
    path.write_text(json.dumps(value) + "\n")
    then = time.time() - age
    os.utime(path, (then, then))


@without_locks
def test_it_says_that_it_is_a_heartbeat_and_refuses_a_second_holder(path: Path) -> None:
    with RunLock(path) as mine:
        assert mine.kind == "heartbeat"
        known = holder(path)
        assert known is not None
        assert known.held
        with pytest.raises(HeldError, match=f"process {os.getpid()}"):
            RunLock(path).acquire()
    assert holder(path) is None
    with RunLock(path):
        pass


@without_locks
def test_a_holder_elsewhere_counts_as_alive_for_two_minutes(path: Path) -> None:
    write_holder(path, pid=1, host="elsewhere", age=110)
    with pytest.raises(HeldError, match="on elsewhere"):
        RunLock(path).acquire()
    write_holder(path, pid=1, host="elsewhere", age=130)
    known = holder(path)
    assert known is not None
    assert not known.held
    with RunLock(path):
        pass


@without_locks
def test_a_dead_holder_on_this_host_is_taken_over_at_once(path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait(10)
    write_holder(path, pid=process.pid, host=os.uname().nodename, age=0)
    with RunLock(path):
        pass


@without_locks
def test_a_silent_holder_on_this_host_is_taken_over_after_two_minutes(path: Path) -> None:
    write_holder(path, pid=os.getppid(), host=os.uname().nodename, age=1)
    with pytest.raises(HeldError):
        RunLock(path).acquire()
    write_holder(path, pid=os.getppid(), host=os.uname().nodename, age=130)
    with RunLock(path):
        pass


@without_locks
def test_a_beat_is_a_sign_of_life(path: Path) -> None:
    with RunLock(path) as mine:
        os.utime(path, (0, 0))
        mine.beat()
        assert path.stat().st_mtime > 0


@without_locks
def test_who_was_taken_over_is_told_at_its_next_beat_and_leaves_the_new_holder_alone(
    path: Path,
) -> None:
    with RunLock(path) as mine:
        write_holder(path, pid=7, host="elsewhere", age=0)
        with pytest.raises(HeldError, match="process 7 on elsewhere"):
            mine.beat()
    assert json.loads(path.read_text())["pid"] == 7


@without_locks
def test_a_release_leaves_a_new_holder_alone(path: Path) -> None:
    mine = RunLock(path)
    mine.acquire()
    write_holder(path, pid=7, host="elsewhere", age=0)
    mine.release()
    assert json.loads(path.read_text())["pid"] == 7


@without_locks
def test_of_two_that_start_at_once_the_last_writer_wins(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def meanwhile(_: float) -> None:
        write_holder(path, pid=7, host="elsewhere", age=0)

    monkeypatch.setattr(time, "sleep", meanwhile)
    with pytest.raises(HeldError, match="process 7 on elsewhere"):
        RunLock(path).acquire()
