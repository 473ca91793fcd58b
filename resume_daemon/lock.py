"""One daemon per run: two of them would write one ledger and alert twice (litestream#422)."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shlex
import stat
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, Self

from resume_daemon import __version__
from resume_daemon.errors import FormatError, ResumeDaemonError, UsageError, VanishedError
from resume_daemon.files import canonical_json, open_regular, write_all

if TYPE_CHECKING:
    from pathlib import Path

HEARTBEAT_SECONDS = 120.0
"""Without kernel locks, the age of the last heartbeat after which a holder counts as dead."""

_ATTEMPTS = 5
_PAUSE_SECONDS = 0.1
_SETTLE_SECONDS = 1.0
_LIMIT = 4096
"""Bytes of a holder; more is not read and not written."""

_NO_LOCKS = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS}
"""What flock(2) answers where there are no locks: Lustre mounted without ``-o flock`` (ENOSYS,
EOPNOTSUPP), NFS without its lock manager (ENOLCK)."""


@dataclass(frozen=True, slots=True)
class Holder:
    """Who wrote the lock file.

    Attributes:
        pid: On ``host``.
        host: Its host name.
        since: When it took the lock (UTC, RFC 3339).
        version: Of this program.
        command: Its command line.
        held: Whether it still holds the lock; if not, it died without releasing it.
    """

    pid: int
    host: str
    since: str
    version: str
    command: str
    held: bool = True


class HeldError(UsageError):
    """Another daemon watches this run.

    Attributes:
        holder: Which one, or None where it has not said so yet.
    """

    def __init__(self, path: Path, holder: Holder | None) -> None:
        self.holder = holder
        if holder is None:
            reason, hint = "another daemon has just taken it", "Try again in a second."
        else:
            reason = f"process {holder.pid} on {holder.host} has held it since {holder.since}"
            hint = (
                f"One daemon watches a run. Leave that one alone, or stop it first "
                f"(`kill {holder.pid}` on {holder.host}); it runs `{holder.command}`."
            )
        super().__init__("take the lock", path, reason, hint=hint)


class RunLock:
    """The lock of one run.

    The file is never deleted: a second daemon could hold the deleted one while a third makes and
    holds a new one. The kernel frees the lock when its process ends, however it ends.

    Attributes:
        path: The lock file; its directory exists.
        kind: ``flock``, or ``heartbeat`` where the filesystem has no locks: then the file's content
            is the lock and its mtime a sign of life, which two daemons started within the same
            second can still defeat. None before ``acquire``.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.kind: Literal["flock", "heartbeat"] | None = None
        self._fd: int | None = None
        self._content = b""

    def acquire(self) -> None:
        """Take the lock and write who holds it; takes up to a second or two where it is held.

        Raises:
            HeldError: Another process, or another ``RunLock`` of this one, holds it.
            ResumeDaemonError: The file cannot be opened or written.
        """
        if self._fd is not None:
            raise HeldError(self.path, _decode(self._content))
        try:
            for attempt in range(_ATTEMPTS):
                if attempt:
                    # `holder` takes the lock for a moment to see whether it is free.
                    time.sleep(_PAUSE_SECONDS)
                if self._attempt():
                    return
        except OSError as error:
            self._close()
            raise _failure("take the lock", self.path, error) from error
        except BaseException:
            self._close()
            raise
        raise HeldError(self.path, holder(self.path))

    def beat(self) -> None:
        """Give a sign of life, where that is what holds the lock; call it once a minute or so.

        Raises:
            HeldError: We were silent for so long that another daemon took the run over. Stop.
            ResumeDaemonError: The lock file cannot be read or touched.
        """
        if self._fd is None or self.kind != "heartbeat":
            return
        try:
            if self._is_ours():
                os.utime(self._fd)
                return
        except OSError as error:
            raise _failure("touch the lock", self.path, error) from error
        self._close()
        raise HeldError(self.path, holder(self.path))

    def release(self) -> None:
        """Free the lock; without effect where it is not held.

        Raises:
            ResumeDaemonError: The file cannot be emptied; a kernel lock is free regardless.
        """
        if self._fd is None:
            return
        try:
            # Empty means released: a holder that died leaves its name behind.
            if self.kind == "flock" or self._is_ours():
                os.ftruncate(self._fd, 0)
        except OSError as error:
            raise _failure("release the lock", self.path, error) from error
        finally:
            self._close()

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def _attempt(self) -> bool:
        """Try once; False means that somebody else has it, perhaps for a moment only."""
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        self._fd = os.open(self.path, flags, 0o644)
        if not stat.S_ISREG(os.fstat(self._fd).st_mode):
            raise FormatError("take the lock", self.path, "it is not a regular file")
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._close()
            return False
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            self._take_by_content()
            return True
        if not self._is_in_place():
            # Somebody removed the file after we opened it, so others would lock a new one.
            self._close()
            return False
        self.kind = "flock"
        self._write()
        return True

    def _is_in_place(self) -> bool:
        if self._fd is None:
            return False
        try:
            there = self.path.stat(follow_symlinks=False)
        except FileNotFoundError:
            return False
        return os.path.samestat(os.fstat(self._fd), there)

    def _take_by_content(self) -> None:
        self.kind = "heartbeat"
        known = holder(self.path)
        if known is not None and known.held:
            raise HeldError(self.path, known)
        self._write()
        # The last writer wins: whoever started at the same moment now reads another's name.
        time.sleep(_SETTLE_SECONDS)
        if not self._is_ours():
            raise HeldError(self.path, holder(self.path))

    def _is_ours(self) -> bool:
        return self._is_in_place() and _read(self.path) == self._content

    def _write(self) -> None:
        if self._fd is None:
            return
        self._content = canonical_json(
            {
                "pid": os.getpid(),
                "host": os.uname().nodename,
                "since": datetime.now(UTC).isoformat(timespec="microseconds"),
                "version": __version__,
                "command": shlex.join(sys.argv)[:1000],
            }
        )
        # Written before it is cut to length: a reader in between finds one whole line first.
        os.lseek(self._fd, 0, os.SEEK_SET)
        write_all(self._fd, self._content + b"\n")
        os.ftruncate(self._fd, len(self._content) + 1)
        os.fsync(self._fd)

    def _close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
        self._fd = None


def holder(path: Path) -> Holder | None:
    """Return who holds the lock at ``path``, or died with it; None where it was released or new.

    Does not wait, and writes nothing.

    Raises:
        ResumeDaemonError: The file cannot be read.
    """
    try:
        with open_regular(path) as fd:
            known = _decode(os.read(fd, _LIMIT).partition(b"\n")[0])
            if known is None:
                return None
            age = time.time() - os.fstat(fd).st_mtime
            held = _is_locked(fd)
    except VanishedError:
        return None
    except OSError as error:
        raise _failure("read the lock", path, error) from error
    if held is None:
        dead = known.host == os.uname().nodename and not _is_running(known.pid)
        held = not dead and age < HEARTBEAT_SECONDS
    return Holder(known.pid, known.host, known.since, known.version, known.command, held)


def _is_locked(fd: int) -> bool | None:
    """Return whether another descriptor holds the lock, or None where there are no locks."""
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return None
        raise
    return False  # Closing the descriptor frees it again.


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _failure(operation: str, path: Path, error: OSError) -> ResumeDaemonError:
    return ResumeDaemonError(operation, path, error.strerror or str(error))


def _read(path: Path) -> bytes:
    try:
        with open_regular(path) as fd:
            return os.read(fd, _LIMIT).partition(b"\n")[0]
    except VanishedError:
        return b""


def _decode(content: bytes) -> Holder | None:
    """Return the holder that ``content`` names; a line that is damaged names nobody."""
    try:
        value: Any = json.loads(content)
        return Holder(
            pid=int(value["pid"]),
            host=str(value["host"]),
            since=str(value["since"]),
            version=str(value["version"]),
            command=str(value["command"]),
        )
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
