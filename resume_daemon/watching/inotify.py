"""File events from one inotify instance: one descriptor, one thread, one watch per directory.

watchdog's ``Observer`` starts threads for every scheduled watch; this sits one level lower, on
its ``InotifyFD`` (watchdog 7.1, ``watchdog/observers/inotify_c.py``), with an instance of its own.
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from watchdog.observers.inotify_c import (
    CallbackId,
    InotifyConstants,
    InotifyEvent,
    InotifyFD,
    Mask,
    WatchDescriptor,
)

from resume_daemon.errors import ResumeDaemonError
from resume_daemon.watching.backend import WatchLimitError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

# Opens, reads and read-only closes are left out: our own reads must not wake us. Attributes are
# left out as well: a chmod changes no content.
MASK = Mask(
    InotifyConstants.IN_CREATE
    | InotifyConstants.IN_DELETE
    | InotifyConstants.IN_MOVED_FROM
    | InotifyConstants.IN_MOVED_TO
    | InotifyConstants.IN_MODIFY
    | InotifyConstants.IN_CLOSE_WRITE
    | InotifyConstants.IN_DELETE_SELF
    | InotifyConstants.IN_MOVE_SELF
    | InotifyConstants.IN_ONLYDIR
    | InotifyConstants.IN_EXCL_UNLINK
)

_RACES = {errno.ENOENT, errno.ENOTDIR, errno.ESTALE, errno.ELOOP, errno.ENAMETOOLONG}
_JOIN_SECONDS = 5.0
_SYSCTL = Path("/proc/sys")


class InotifyWatcher:
    """A ``Watcher`` on inotify.

    A single file is watched by its name in its directory, since files are replaced by renames and
    a watch on the file itself would stay with the old one. A link is watched as a name too: pass
    the resolved path to follow what it points to.

    ``start``, ``set_targets`` and ``close`` belong to one thread.
    """

    def __init__(
        self,
        *,
        on_event: Callable[[Path], None],
        on_overflow: Callable[[], None],
        interesting: Callable[[Path], bool] | None = None,
    ) -> None:
        self._on_event = on_event
        self._on_overflow = on_overflow
        self._interesting = interesting
        self._instance: _Instance | None = None
        self._targets: Collection[Path] = ()
        self._watched: dict[Path, _Directory] = {}
        self._ids = count()

    @property
    def watches(self) -> int:
        """How many kernel watches are in use (two names of one directory share one)."""
        return len({d.descriptor for d in list(self._watched.values()) if d.alive})

    def start(self) -> None:
        """Open the inotify instance, start its thread and watch the targets set so far.

        Raises:
            WatchLimitError: This user has as many instances, or this process as many descriptors,
                as it may have.
        """
        if self._instance is not None:
            return
        try:
            self._instance = _Instance(self._on_overflow)
        except OSError as error:
            raise _instance_error(error) from error
        self._instance.name = "inotify"
        self._instance.start()
        self.set_targets(self._targets)

    def set_targets(self, targets: Collection[Path]) -> None:
        """See ``Watcher.set_targets``; before ``start`` they are only remembered."""
        self._targets = tuple(targets)
        if self._instance is None:
            return
        wanted = _by_directory(self._targets)
        for path in self._watched.keys() - wanted.keys():
            self._drop(self._instance, path)
        failures: list[ResumeDaemonError] = []
        for path, entries in wanted.items():
            try:
                self._watch(self._instance, path, entries)
            except ResumeDaemonError as error:
                failures.append(error)
        if failures:
            raise failures[0]

    def close(self) -> None:
        """Stop the thread and free the watches."""
        for directory in self._watched.values():
            directory.mute()
        self._watched.clear()
        self._targets = ()
        if self._instance is not None:
            self._instance.stop()
            self._instance.join(_JOIN_SECONDS)
            self._instance = None

    def _watch(self, instance: _Instance, path: Path, entries: _Entries) -> None:
        # The identity is taken before the watch: if the directory is replaced in between, the next
        # call sees another identity and watches again, which costs nothing.
        identity = _identity(path)
        old = self._watched.get(path)
        if old is not None and old.alive and old.identity == identity:
            old.entries = entries
            return
        if old is not None:
            self._drop(instance, path)
        if identity is None:
            return
        directory = _Directory(
            path=path,
            identity=identity,
            entries=entries,
            callback_id=CallbackId(next(self._ids)),
            on_event=self._on_event,
            interesting=self._interesting,
        )
        try:
            descriptor = instance.add_callback(os.fsencode(path), MASK, directory, directory.id)
        except OSError as error:
            if error.errno in _RACES:
                return
            raise _watch_error(error, path) from error
        if descriptor == -1:
            # watchdog registers a directory that it may not read (EACCES) as watch -1. The rescan
            # meets the same refusal, and reports it.
            instance.remove_callbacks([(descriptor, directory.id)])
            return
        directory.descriptor = descriptor
        self._watched[path] = directory

    def _drop(self, instance: _Instance, path: Path) -> None:
        directory = self._watched.pop(path)
        if directory.alive and directory.descriptor is not None:
            instance.remove_callbacks([(directory.descriptor, directory.id)])


class _Instance(InotifyFD):
    """An inotify instance that tells of an overflow once, and not once per watch."""

    def __init__(self, on_overflow: Callable[[], None]) -> None:
        super().__init__()
        self._on_overflow = on_overflow

    def handle_event(self, event: InotifyEvent) -> None:
        if event.is_queue_overflow:
            self._on_overflow()
        else:
            super().handle_event(event)


@dataclass(frozen=True, slots=True)
class _Entries:
    """Which entries of a directory matter: those of these names, and all of them if ``whole``."""

    whole: bool = False
    names: frozenset[bytes] = frozenset()


class _Directory:
    """What is watched in one directory; called by ``InotifyFD`` on its thread."""

    def __init__(
        self,
        *,
        path: Path,
        identity: tuple[int, int],
        entries: _Entries,
        callback_id: CallbackId,
        on_event: Callable[[Path], None],
        interesting: Callable[[Path], bool] | None,
    ) -> None:
        self.path = path
        self.identity = identity
        self.entries = entries
        self.id = callback_id
        self.descriptor: WatchDescriptor | None = None
        # Set before the kernel knows of the watch and cleared by its thread, so that a directory
        # that dies at once is not taken for a living one afterwards.
        self.alive = True
        self._on_event: Callable[[Path], None] | None = on_event
        self._interesting = interesting

    def mute(self) -> None:
        """Let nothing through any more, not even that the watch is gone."""
        self._on_event = None

    def on_event(self, event: InotifyEvent) -> None:
        """Pass an event on, the cheapest questions first: a run may hold 100,000 sample files."""
        entries = self.entries
        if not event.name:
            self._wake(self.path)
        elif event.name in entries.names:
            self._wake(self.path / os.fsdecode(event.name))
        elif entries.whole:
            path = self.path / os.fsdecode(event.name)
            if self._interesting is None or self._interesting(path):
                self._wake(path)

    def on_watch_deleted(self, wd: WatchDescriptor) -> None:  # noqa: ARG002  The protocol's name.
        """Note that the kernel dropped the watch; the next ``set_targets`` makes a new one."""
        self.alive = False
        # The event before this one may have been handled while the watch still seemed alive.
        self._wake(self.path)

    def on_queue_overflow(self) -> None:
        """Never called: ``_Instance`` tells of it."""

    def _wake(self, path: Path) -> None:
        if (on_event := self._on_event) is not None:
            on_event(path)


def _by_directory(targets: Collection[Path]) -> dict[Path, _Entries]:
    """Return the directories to watch, in the order of the targets, and what matters in each."""
    wanted: dict[Path, _Entries] = {}
    for target in targets:
        if _identity(target) is not None:
            names = wanted.get(target, _Entries()).names
            wanted[target] = _Entries(whole=True, names=names)
        else:
            known = wanted.get(target.parent, _Entries())
            names = known.names | {os.fsencode(target.name)}
            wanted[target.parent] = _Entries(known.whole, names)
    return wanted


def _identity(path: Path) -> tuple[int, int] | None:
    """Return the device and inode of a directory, or None for anything else."""
    try:
        status = path.stat()
    except OSError:
        return None
    return (status.st_dev, status.st_ino) if stat.S_ISDIR(status.st_mode) else None


def _watch_error(error: OSError, path: Path) -> ResumeDaemonError:
    if error.errno != errno.ENOSPC:
        return ResumeDaemonError("watch", path, error.strerror or str(error))
    limit = _smallest("fs/inotify/max_user_watches", "user/max_inotify_watches")
    return WatchLimitError(
        "watch",
        path,
        "this user has as many inotify watches as the kernel grants",
        hint=f"Raise the limit: {limit}. Until then the rescan finds what the events do not tell.",
    )


def _instance_error(error: OSError) -> ResumeDaemonError:
    if error.errno != errno.EMFILE:
        return ResumeDaemonError("open an inotify instance", None, error.strerror or str(error))
    limit = _smallest("fs/inotify/max_user_instances", "user/max_inotify_instances")
    # inotify_init(2) answers EMFILE to both limits, and does not say which one it was.
    return WatchLimitError(
        "open an inotify instance",
        None,
        "this user has as many instances, or this process as many open files, as it may have",
        hint=f"Raise the limit: {limit}; or `ulimit -n`.",
    )


def _smallest(*names: str) -> str:
    """Return the sysctl that is the limit here, with its value: the smallest one holds.

    The first is the machine's, the second that of a container's user namespace.
    """
    values: list[tuple[int, str]] = []
    for name in names:
        try:
            values.append((int((_SYSCTL / name).read_text()), name.replace("/", ".")))
        except (OSError, ValueError):
            continue
    if not values:
        return f"sysctl {names[0].replace('/', '.')}"
    value, name = min(values, key=lambda item: item[0])
    return f"sysctl {name} is {value} now"
