"""What must not happen while a file is read, whatever is in it."""

from __future__ import annotations

import codecs
import os
import resource
import sys
import time
from typing import TYPE_CHECKING, Any, Final

from resume_daemon.errors import ResumeDaemonError

if TYPE_CHECKING:
    from collections.abc import Callable

MOST_SECONDS: Final = 5.0
MOST_BYTES: Final = 512 * 1024 * 1024

_HARMLESS: Final = frozenset({"builtins.id", "object.__getattr__", "sys._getframe"})
"""Events of the interpreter that a reader may cause; all others but opening for reading are told:
importing, compiling, executing, starting processes, removing files, reaching the network."""

_WRITING: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class Harm(AssertionError):  # noqa: N818 - what it is, not how it is told.
    """A file did something when it was read, or took more than it may."""


class _Watch:
    """Notes what the interpreter is asked to do; the hook can never be taken away again."""

    def __init__(self) -> None:
        self.watching = False
        self.seen: list[str] = []
        self._hooked = False

    def begin(self) -> None:
        if not self._hooked:
            # Of the codecs that readers name, the one that Python itself does not begin with.
            codecs.lookup("raw_unicode_escape")
            sys.addaudithook(self._note)
            self._hooked = True
        self.seen.clear()
        self.watching = True

    def end(self) -> None:
        self.watching = False

    def _note(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.watching or event in _HARMLESS:
            return
        if event == "open" and not (arguments[2] & _WRITING):
            return
        self.watching = False
        self.seen.append(f"{event} {arguments!r:.200}")
        self.watching = True


_WATCH: Final = _Watch()


def guarded(read: Callable[[], object]) -> ResumeDaemonError | None:
    """Read a file, and return the error of ours that it ended in, if any.

    What a reader imports when it is needed has to be imported before: read a good file first.

    Raises:
        Harm: Something was executed, written or reached, or it took too long or too much memory.
        Exception: Whatever else the reader raised, which it must not.
    """
    memory, begun = _peak(), time.perf_counter()
    refused: ResumeDaemonError | None = None
    _WATCH.begin()
    try:
        read()
    except ResumeDaemonError as error:
        refused = error
    finally:
        _WATCH.end()
    seconds, grown = time.perf_counter() - begun, _peak() - memory
    if _WATCH.seen:
        raise Harm(f"reading it did more than read: {_WATCH.seen}")
    if seconds > MOST_SECONDS:
        raise Harm(f"reading it took {seconds:.1f} s")
    if grown > MOST_BYTES:
        raise Harm(f"reading it took {grown >> 20} MiB")
    return refused


def _peak() -> int:
    """Return the most bytes of memory that this process has had."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
