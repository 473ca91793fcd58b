"""Whether the run can be read by us and written by the user that trains. Pure.

Judged by owner, group and mode as the kernel does (path_resolution(7)), since asking the kernel
answers only for ourselves. Access control lists are not seen.
"""

from __future__ import annotations

import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from resume_daemon.findings import Code, Severity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resume_daemon.findings import Finding

READ_ONLY = Code(
    "RD856",
    "run-read-only",
    Severity.ERROR,
    "The run lies on a file system that is mounted read-only",
    "The trainer cannot save there. A disk with errors is remounted like this by the kernel.",
    "Look at `dmesg`, and mount it read-write; or resume into another output directory.",
    "ext4(5), errors=remount-ro",
)
NOT_WRITABLE = Code(
    "RD857",
    "run-not-writable",
    Severity.ERROR,
    "The user that trains cannot write into the run",
    "The next save fails, after all the steps before it.",
    "Give that user the directory: `chown -R USER RUN`, or `chmod u+wx RUN`.",
)
NOT_READABLE = Code(
    "RD858",
    "checkpoint-not-readable",
    Severity.WARNING,
    "Something of the run cannot be read",
    "What cannot be read was not judged, and the trainer may not be able to read it either.",
    "Run this as the user that trains, or give the files to it.",
)
OTHER_OWNER = Code(
    "RD859",
    "checkpoints-of-other-owners",
    Severity.WARNING,
    "Checkpoints belong to different users",
    "One start ran as another user, often as root in a container. The user that owns the run can "
    "neither rotate nor replace what the other wrote.",
    "`chown -R USER RUN`, and start the trainer as one user.",
)

_ROOT = 0


@dataclass(frozen=True, slots=True)
class Owned:
    """A directory or file, with who owns it and the mode of ``stat``."""

    name: str
    uid: int
    gid: int
    mode: int


@dataclass(frozen=True, slots=True)
class PermissionFacts:
    """Who owns what.

    Attributes:
        run: The run directory.
        checkpoints: Its checkpoints.
        unreadable: Names that could not be read, each with why.
        read_only: Whether the file system is mounted read-only.
        uid: Of the user that looks.
        writable: Whether that user can write into the run, as the kernel says.
    """

    run: Owned
    checkpoints: tuple[Owned, ...] = ()
    unreadable: tuple[tuple[str, str], ...] = ()
    read_only: bool = False
    uid: int = 0
    writable: bool = True


def check(facts: PermissionFacts) -> Iterator[Finding]:
    """Yield what the trainer or we may not do."""
    run = facts.run
    if facts.read_only:
        yield READ_ONLY.finding("The file system of the run is mounted read-only.")
    elif not _owner_may_write(run):
        yield NOT_WRITABLE.finding(
            f"The run has the mode {stat.filemode(run.mode)}: user {run.uid}, who owns it, may not "
            "write into it."
        )
    elif facts.uid == run.uid and not facts.writable:
        yield NOT_WRITABLE.finding("The run cannot be written, although this user owns it.")
    elif not facts.writable:
        yield NOT_WRITABLE.finding(
            f"User {facts.uid}, who asks, may not write into the run; it belongs to user "
            f"{run.uid}. That matters where the trainer is started by the same user.",
            severity=Severity.INFO,
        )
    others = [c for c in facts.checkpoints if c.uid != run.uid]
    # Root may do all of that; whoever else owns the run may not.
    if others and run.uid != _ROOT:
        names = ", ".join(f"{each.name} (user {each.uid})" for each in others[:3])
        more = f" and {len(others) - 3} more" if len(others) > 3 else ""  # noqa: PLR2004 - as above
        yield OTHER_OWNER.finding(f"The run belongs to user {run.uid}; {names}{more} do not.")
    for name, why in facts.unreadable:
        yield NOT_READABLE.finding(f"{name}: {why}.", file=name)


def summary(facts: PermissionFacts) -> str:
    """Return what was seen, in a sentence."""
    run = facts.run
    mount = ", mounted read-only" if facts.read_only else ""
    return f"the run belongs to user {run.uid}, {stat.filemode(run.mode)}{mount}"


def _owner_may_write(owned: Owned) -> bool:
    needed = stat.S_IWUSR | stat.S_IXUSR
    return owned.uid == _ROOT or owned.mode & needed == needed
