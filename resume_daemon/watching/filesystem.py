"""Which filesystem a run lies on, and whether the kernel tells us what happens there."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Backend = Literal["inotify", "polling"]

CHANGES_COME_FROM = {
    "9p": "host",
    "acfs": "cluster",
    "afs": "server",
    "autofs": "server",
    "beegfs": "cluster",
    "ceph": "cluster",
    "cifs": "server",
    "coda": "server",
    "dvs": "server",
    "fuse": "program",
    "gfs": "cluster",
    "gfs2": "cluster",
    "glusterfs": "cluster",
    "gpfs": "cluster",
    "lustre": "cluster",
    "ncpfs": "server",
    "nfs": "server",
    "nfs4": "server",
    "ocfs2": "cluster",
    "orangefs": "cluster",
    "panfs": "cluster",
    "prl_fs": "host",
    "pvfs2": "cluster",
    "smb3": "server",
    "smbfs": "server",
    "vboxsf": "host",
    "virtiofs": "host",
    "vmhgfs": "host",
    "wekafs": "cluster",
}
"""Per network type (as ``/proc/self/mountinfo`` spells it), who changes files behind our back.

inotify reports what passes through this machine's own kernel, and nothing else (inotify(7),
"Limitations and caveats"): a write by another client of the same server is never seen.
``fuse`` stands for every ``fuse.<program>``; ``fuseblk`` (ntfs-3g) is a local disk.
"""


@dataclass(frozen=True, slots=True)
class Filesystem:
    """What a path lies on.

    Attributes:
        type: As the kernel names it (``ext4``, ``nfs4``, ``fuse.sshfs``), or ``unknown``.
        mount_point: Where it is mounted.
        network: Whether files can change there without this kernel knowing.
    """

    type: str
    mount_point: str
    network: bool


@dataclass(frozen=True, slots=True)
class BackendChoice:
    """How changes are noticed, and why, in words for the log."""

    backend: Backend
    reason: str


@dataclass(frozen=True, slots=True)
class _Mount:
    id: int
    parent: int
    point: str
    type: str


def filesystem_of(path: Path, mountinfo: str) -> Filesystem:
    """Return the filesystem that an absolute ``path`` (links resolved) lies on.

    The kernel's own walk is repeated: from the root mount, each part of the path may cross into a
    mount whose *parent* is the current one. The longest mount point alone would be wrong where a
    later mount hides earlier ones below it, and the order of lines tells nothing: after a
    switch of root, ``/proc`` stands before ``/``.

    Args:
        path: Need not exist.
        mountinfo: The text of ``/proc/self/mountinfo`` (proc_pid_mountinfo(5)); lines that do not
            follow its format are skipped.
    """
    mounts = list(_mounts(mountinfo))
    # Any mount on "/" will do to begin with: what is stacked upon it is found by the walk.
    current = next((mount for mount in mounts if mount.point == "/"), None)
    if current is None:
        return Filesystem("unknown", "/", network=False)
    children = {(m.parent, m.point): m for m in mounts}
    for place in [*reversed(path.parents), path]:
        seen = {current.id}  # A damaged table may hold a loop.
        while (child := children.get((current.id, str(place)))) and child.id not in seen:
            current = child
            seen.add(child.id)
    return Filesystem(current.type, current.point, network=_source(current.type) is not None)


def choose_backend(
    setting: Literal["auto", "inotify", "polling"], filesystem: Filesystem, platform: str
) -> BackendChoice:
    """Return how to watch ``filesystem`` on ``platform`` (``sys.platform``).

    An explicit setting is obeyed where the platform can, even on a network filesystem: whoever
    runs trainer and daemon on one machine gets events there, since both use one kernel.
    """
    where = f"{filesystem.mount_point} ({filesystem.type})"
    if setting == "polling":
        return BackendChoice("polling", "the configuration asks for it")
    if platform != "linux":
        return BackendChoice("polling", f"{platform} has no inotify")
    source = _source(filesystem.type)
    if setting == "inotify":
        doubt = f", though changes that come from the {source} raise no event" if source else ""
        return BackendChoice("inotify", f"the configuration asks for it on {where}{doubt}")
    if source:
        reason = f"on {where} changes that come from the {source} raise no event"
        return BackendChoice("polling", reason)
    if filesystem.type == "unknown":
        return BackendChoice("inotify", "the filesystem is unknown and is taken for a local one")
    return BackendChoice("inotify", f"{where} is local")


def _source(kind: str) -> str | None:
    return CHANGES_COME_FROM.get("fuse" if kind.startswith("fuse.") else kind)


def _mounts(mountinfo: str) -> Iterator[_Mount]:
    # Only "\n" ends a line: splitlines() would also break at a form feed in a name.
    for line in mountinfo.split("\n"):
        fields, separator, rest = line.partition(" - ")
        columns = fields.split(" ")
        if not separator or len(columns) < 6:  # noqa: PLR2004  The format's fixed columns.
            continue
        number, parent, _device, _root_of_mount, point = columns[:5]
        if not (number.isdecimal() and parent.isdecimal()):
            continue
        yield _Mount(int(number), int(parent), _unescape(point), _unescape(rest.split(" ")[0]))


def _unescape(text: str) -> str:
    """Undo the octal escapes (space, tab, newline, backslash) that the kernel writes."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)
