"""The kernel's limits against what a daemon and a trainer need. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from resume_daemon.findings import Code, Severity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resume_daemon.findings import Finding

FEW_WATCHES = Code(
    "RD861",
    "inotify-limit",
    Severity.WARNING,
    "The kernel has no inotify watch or instance left for a daemon",
    "Editors, containers and other daemons of this user hold them. The daemon then finds changes "
    "by looking again, later than it could.",
    "Raise the limit: `sysctl fs.inotify.max_user_instances=512` or "
    "`fs.inotify.max_user_watches=524288`.",
    "inotify(7), /proc interfaces",
)
FEW_FILES = Code(
    "RD862",
    "open-files-limit",
    Severity.WARNING,
    "A process may open unusually few files",
    "Data loaders that share tensors by descriptors, and sharded checkpoints, end with 'Too many "
    "open files'.",
    "`ulimit -n 65536` in the launch script, or LimitNOFILE= in the unit.",
    "torch.multiprocessing, file_descriptor sharing strategy",
)

_FEW_FILES = 1024
"""What Linux gives a process unless somebody lowers it (systemd and most shells: 1024 or more)."""


@dataclass(frozen=True, slots=True)
class LimitFacts:
    """Limits and what is used of them.

    Attributes:
        max_watches: inotify watches of a user; None where the kernel does not tell.
        max_instances: inotify instances of a user; None as above.
        used_watches: Held by this user's processes, as far as they can be looked at.
        used_instances: As above.
        needed_watches: Directories that a daemon would watch for this run; 0 where one watches
            it already or none needs to.
        open_files: The soft limit of open files, or None where there is none.
    """

    max_watches: int | None = None
    max_instances: int | None = None
    used_watches: int = 0
    used_instances: int = 0
    needed_watches: int = 0
    open_files: int | None = None


def check(facts: LimitFacts) -> Iterator[Finding]:
    """Yield the limits that are too low."""
    if facts.needed_watches:
        watches, instances = facts.max_watches, facts.max_instances
        if watches is not None and watches - facts.used_watches < facts.needed_watches:
            yield FEW_WATCHES.finding(
                f"{facts.used_watches} of {watches} inotify watches are in use; this run needs "
                f"{facts.needed_watches}."
            )
        if instances is not None and facts.used_instances >= instances:
            yield FEW_WATCHES.finding(
                f"{facts.used_instances} of {instances} inotify instances are in use."
            )
    if facts.open_files is not None and facts.open_files < _FEW_FILES:
        yield FEW_FILES.finding(f"The limit of open files is {facts.open_files}.")


def summary(facts: LimitFacts) -> str:
    """Return what was seen, in a sentence."""
    files = "no limit" if facts.open_files is None else str(facts.open_files)
    if facts.max_watches is None:
        return f"open files: {files}"
    return (
        f"inotify watches {facts.used_watches} of {facts.max_watches}, instances "
        f"{facts.used_instances} of {facts.max_instances}; open files: {files}"
    )
