"""A directory as it was at one moment: the value on which completeness and identity are decided."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

from blake3 import blake3

from resume_daemon.errors import ResumeDaemonError, VanishedError
from resume_daemon.files import is_inside, read_error

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

MAX_ENTRIES = 100_000
"""Entries after which a listing is refused: no checkpoint of any known layout comes near."""

MAX_DEPTH = 8
"""Levels of sub-directories that are listed: Megatron inside of others, and the arrays of Orbax,
need four to six."""


MAX_GAP = 8
"""Files in a row that are not there, after which no more of a sequence are looked for."""


class EntryKind(StrEnum):
    """What an entry is, as far as this program is concerned."""

    FILE = "file"
    OUTSIDE = "outside"
    """A symbolic link that leaves the run directory: not followed."""
    SPECIAL = "special"
    """A FIFO, socket or device, or a dangling or looping link: never opened."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of a directory; sizes in bytes, times in nanoseconds since the epoch."""

    name: str
    """Relative to the listed directory, with ``/`` between the parts."""
    kind: EntryKind
    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int


@dataclass(frozen=True, slots=True)
class Listing:
    """Every file below a directory, at one moment."""

    root: Path
    entries: Mapping[str, Entry]
    changed_ns: int
    """The newest mtime or ctime of the directory, its sub-directories and files."""
    file: str | None = None
    """For a checkpoint that is a file (and those beside it): its name; ``root`` is the run then."""

    @property
    def name(self) -> str:
        """The checkpoint's name in the run directory."""
        return self.root.name if self.file is None else self.file

    def __contains__(self, name: object) -> bool:
        return name in self.entries

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def path(self, name: str) -> Path:
        """Return where the entry's bytes are, with links inside the run resolved."""
        return Path(os.path.realpath(self.root / name))

    def total_bytes(self) -> int:
        """Return the sum of the sizes of all regular files."""
        return sum(e.size for e in self.entries.values() if e.kind is EntryKind.FILE)

    def fingerprint(self) -> str:
        """Return a digest of names, sizes, mtimes and inodes: equal means nothing was touched.

        ctime is left out: a chmod or a hard link (a backup) changes no content.
        """
        lines = [
            f"{name}\0{e.kind.value}\0{e.size}\0{e.mtime_ns}\0{e.inode}\n"
            for name, e in sorted(self.entries.items())
        ]
        # A name is bytes to the file system, and need not be UTF-8.
        return blake3(os.fsencode("".join(lines))).hexdigest()


def list_directory(root: Path, *, boundary: Path) -> Listing:
    """List every file below ``root``, to a bounded depth and number.

    Files that vanish between the listing and their stat are left out: rotation is no error.

    Args:
        root: The directory.
        boundary: The run directory; links that lead out of it are marked, never followed.

    Raises:
        VanishedError: ``root`` is not there.
        ResumeDaemonError: ``root`` or a directory in it cannot be listed, or it holds more than
            ``MAX_ENTRIES`` entries.
    """
    entries: dict[str, Entry] = {}
    changed = 0
    left = MAX_ENTRIES
    pending: list[tuple[Path, str, int]] = [(root, "", 0)]
    while pending:
        directory, prefix, depth = pending.pop()
        try:
            own = directory.stat()
            with os.scandir(directory) as iterator:
                found = list(islice(iterator, left + 1))
        except OSError as error:
            problem = read_error(error, directory)
            if depth and isinstance(problem, VanishedError):
                continue
            raise problem from error
        left -= len(found)
        if left < 0:
            raise ResumeDaemonError(
                "list", root, f"it holds more than {MAX_ENTRIES} files", hint="Is it a run?"
            )
        changed = max(changed, own.st_mtime_ns, own.st_ctime_ns)
        for item in found:
            name = prefix + item.name
            status, kind = _inspect(item, boundary)
            if status is None:
                continue
            changed = max(changed, status.st_mtime_ns, status.st_ctime_ns)
            if kind is None:
                if depth < MAX_DEPTH:
                    pending.append((Path(item.path), f"{name}/", depth + 1))
                continue
            entries[name] = _entry(name, kind, status)
    return Listing(root, entries, changed)


def list_files(root: Path, name: str, others: Iterable[str], *, boundary: Path) -> Listing:
    """List a checkpoint that is a file, with those of ``others`` that are there.

    Args:
        root: The directory that they lie in.
        name: The checkpoint's own file.
        others: Names of files that belong to it, of which ``MAX_GAP`` in a row that are not there
            end them.
        boundary: As for ``list_directory``.

    Raises:
        VanishedError: The file is not there.
        ResumeDaemonError: It cannot be looked at.
    """
    entries: dict[str, Entry] = {}
    changed = gap = 0
    for each in chain((name,), others):
        try:
            status, kind = _status_of(root / each, boundary)
        except OSError as error:
            problem = read_error(error, root / each)
            if each == name or not isinstance(problem, VanishedError):
                raise problem from error
            gap += 1
            if gap == MAX_GAP:
                break
            continue
        gap = 0
        changed = max(changed, status.st_mtime_ns, status.st_ctime_ns)
        entries[each] = _entry(each, kind, status)
    return Listing(root, entries, changed, name)


def _entry(name: str, kind: EntryKind, status: os.stat_result) -> Entry:
    return Entry(name, kind, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


def _status_of(path: Path, boundary: Path) -> tuple[os.stat_result, EntryKind]:
    """Return the status and the kind of a file, a link inside the boundary being followed."""
    status = os.lstat(path)
    if stat.S_ISLNK(status.st_mode):
        if not is_inside(path, boundary):
            return status, EntryKind.OUTSIDE
        status = os.stat(path)  # noqa: PTH116 - that of Path may hide what the error was
    return status, EntryKind.FILE if stat.S_ISREG(status.st_mode) else EntryKind.SPECIAL


def _inspect(
    item: os.DirEntry[str], boundary: Path
) -> tuple[os.stat_result | None, EntryKind | None]:
    """Return the status of an entry and its kind; no status: it vanished; no kind: a directory."""
    try:
        status = item.stat(follow_symlinks=False)
        if stat.S_ISLNK(status.st_mode):
            if not is_inside(Path(item.path), boundary):
                return status, EntryKind.OUTSIDE
            try:
                target = item.stat()
            except OSError:
                return status, EntryKind.SPECIAL
            # A linked directory is not descended into: a loop of links would never end.
            return (
                (target, EntryKind.FILE)
                if stat.S_ISREG(target.st_mode)
                else (status, EntryKind.SPECIAL)
            )
    except OSError:
        return None, None
    if stat.S_ISDIR(status.st_mode):
        return status, None
    return status, EntryKind.FILE if stat.S_ISREG(status.st_mode) else EntryKind.SPECIAL
