"""Reading the curriculum state of a run while its trainer may be writing it."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from blake3 import blake3

from resume_daemon.curriculum.documents import NotWholeError, parse_state
from resume_daemon.curriculum.schemas import Unit, recognise
from resume_daemon.curriculum.summary import History, Summary, summarise
from resume_daemon.errors import FormatError, ResumeDaemonError, VanishedError
from resume_daemon.files import is_inside, open_regular, read_bounded

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from resume_daemon.curriculum.schemas import Schema

STATE_LIMIT = 64 * 1024 * 1024
"""Bytes above which a file is no curriculum state."""

ATTEMPTS = 6
WAIT_SECONDS = 0.05

QUIET_NS = 2_000_000_000
"""Nanoseconds after its last change from which one reading is enough. Two writes within one tick
of the file system's clock leave equal times: 4 to 10 ms on ext4 and XFS before Linux 6.13, 2 s on
FAT. Younger files are read twice."""


@dataclass(frozen=True, slots=True)
class StateVersion:
    """One whole version of a state file.

    Attributes:
        file: Its path in the run, with ``/``.
        digest: BLAKE3 of the content, hexadecimal.
        content: The bytes.
        size: Number of bytes.
        mtime_ns: When the file was changed last, nanoseconds since the epoch.
        seen_at: When it was read, nanoseconds since the epoch.
        summary: What it says, as far as its schema is known.
        valid_json: It parsed as JSON or YAML; False for a binary or unknown file.
    """

    file: str
    digest: str
    content: bytes
    size: int
    mtime_ns: int
    seen_at: int
    summary: Summary
    valid_json: bool

    @property
    def schema(self) -> str | None:
        """Name of the schema that recognised it."""
        return self.summary.schema

    @property
    def step(self) -> int | None:
        """Its own step, in the unit of its schema."""
        return self.summary.step

    @property
    def trainer_step(self) -> int | None:
        """Its step where that counts optimizer steps, so that it compares with a checkpoint's."""
        return self.summary.step if self.summary.unit is Unit.OPTIMIZER_STEPS else None

    @property
    def stage(self) -> int | str | None:
        """The stage that the curriculum was in."""
        return self.summary.stage

    @property
    def history(self) -> History | None:
        """The extent of its history."""
        return self.summary.history


@dataclass(frozen=True, slots=True)
class Missing:
    """There is no such file."""

    file: str


@dataclass(frozen=True, slots=True)
class Torn:
    """The file was not whole at any attempt; ``how`` says what was wrong at the last one."""

    file: str
    how: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The file is not read at all: a FIFO, a link out of the run, too large, no permission."""

    file: str
    reason: str


StateRead = StateVersion | Missing | Torn | Refused


def wait_shortly(_attempt: int) -> None:
    """Wait until a writer that was seen in the act is likely to be done."""
    time.sleep(WAIT_SECONDS)


def read_state(
    path: Path,
    *,
    run: Path,
    schemas: Sequence[Schema],
    attempts: int = ATTEMPTS,
    wait: Callable[[int], None] = wait_shortly,
    now: Callable[[], int] = time.time_ns,
) -> StateRead:
    """Read a state file whole, or say why that was not possible.

    Trainers rewrite it in place (``open("w")`` and ``json.dump``), so a reader may meet it empty,
    half-written, or half old and half new. It is taken when it is unchanged from before the read to
    after it, is whole by its own format, and either has been quiet for ``QUIET_NS`` or reads the
    same once more after a wait.

    Args:
        path: The file, inside ``run``.
        run: The run directory, which no link may leave.
        schemas: Those to recognise it by.
        attempts: Readings at most; at least 2.
        wait: Called between two of them with the number of those made.
        now: The clock, nanoseconds since the epoch.
    """
    file = os.path.relpath(path, run)
    if not is_inside(path, run):
        return Refused(file, "it is a link that leaves the run directory, which is not followed")
    real = Path(os.path.realpath(path))
    earlier: tuple[bytes, tuple[int, ...]] | None = None
    how = ""
    for attempt in range(attempts):
        if attempt:
            wait(attempt)
        try:
            before = _identity(real)
            content = read_bounded(real, STATE_LIMIT)
            after = _identity(real)
        except VanishedError:
            return Missing(file)
        except FormatError as error:
            return Refused(file, error.reason)
        except ResumeDaemonError as error:
            return Refused(file, f"{error.reason}. {error.hint}".strip())
        if before != after or len(content) != after[1]:
            how, earlier = "it changed while it was read", None
            continue
        try:
            version = interpret(file, content, schemas, mtime_ns=after[2], seen_at=now())
        except NotWholeError as error:
            how, earlier = str(error), None
            continue
        if earlier == (content, after) or 0 <= after[2] <= now() - QUIET_NS:
            return version
        how, earlier = "it changes all the time", (content, after)
    return Torn(file, f"{how}, at each of {attempts} attempts" if attempts > 1 else how)


def interpret(
    file: str, content: bytes, schemas: Sequence[Schema], *, mtime_ns: int, seen_at: int
) -> StateVersion:
    """Return what the content of a state file says.

    Raises:
        NotWholeError: It cannot be all of what was written.
    """
    document = parse_state(file, content)
    return StateVersion(
        file=file,
        digest=blake3(content).hexdigest(),
        content=content,
        size=len(content),
        mtime_ns=mtime_ns,
        seen_at=seen_at,
        summary=summarise(document, recognise(document, file, schemas)),
        valid_json=document is not None,
    )


def _identity(path: Path) -> tuple[int, int, int, int]:
    """Return inode, size, mtime and ctime: any write changes one, but for the clock's tick."""
    with open_regular(path) as fd:
        status = os.fstat(fd)
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
