"""How the main loop is woken up. An event says "look again" and never what is true.

So nothing that a watcher misses is lost: the rescan reads the truth from disk in any case.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from resume_daemon.errors import ResumeDaemonError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

    from resume_daemon.watching.filesystem import BackendChoice


class WatchLimitError(ResumeDaemonError):
    """The kernel grants no more watches or inotify instances; the hint names the sysctl."""


class Watcher(Protocol):
    """Wakes the main loop up when something changes below its targets."""

    @property
    def watches(self) -> int:
        """How many kernel watches are in use."""
        ...

    def start(self) -> None:
        """Begin to watch; a second call does nothing.

        Raises:
            WatchLimitError: The kernel grants no inotify instance.
        """
        ...

    def set_targets(self, targets: Collection[Path]) -> None:
        """Watch exactly these directories and single files, never what is below directories.

        Called again and again by the main loop; it also heals watches on directories that were
        deleted, made again or moved. A target that is not there yet costs nothing and is waited
        for by its name in its directory. Under a limit the first targets are served first.

        Raises:
            WatchLimitError: Not all are watched; those that are keep working.
            ResumeDaemonError: The kernel refuses a watch for a reason that is no race.
        """
        ...

    def close(self) -> None:
        """Stop watching and free the kernel's watches; no callback runs after it returns."""
        ...


class PollingWatcher:
    """A watcher that never wakes anyone: the rescan alone finds what changed."""

    watches = 0

    def start(self) -> None:
        """Do nothing."""

    def set_targets(self, targets: Collection[Path]) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


def make_watcher(
    choice: BackendChoice,
    *,
    on_event: Callable[[Path], None],
    on_overflow: Callable[[], None],
    interesting: Callable[[Path], bool] | None = None,
) -> tuple[Watcher, str]:
    """Return a started watcher and, in words to be logged once, why it is this one.

    Where inotify cannot be had, polling takes its place: slower, and as correct.

    Args:
        choice: What ``choose_backend`` said.
        on_event: Called on the watcher's thread with the path that changed. Must be cheap and must
            not raise.
        on_overflow: Called on the same thread after the kernel dropped events: rescan now.
        interesting: Which entries of a directory target may wake anyone; all, where it is None.
            Called on the watcher's thread, once per event, with the entry's path.
    """
    if choice.backend == "polling":
        return PollingWatcher(), choice.reason
    try:
        # Imported here: watchdog refuses to be imported where libc has no inotify.
        from resume_daemon.watching.inotify import InotifyWatcher  # noqa: PLC0415

        watcher = InotifyWatcher(
            on_event=on_event, on_overflow=on_overflow, interesting=interesting
        )
        watcher.start()
    except (ResumeDaemonError, ImportError, AttributeError) as error:
        return PollingWatcher(), f"inotify cannot be used, so the disk is polled. {error}"
    return watcher, choice.reason
