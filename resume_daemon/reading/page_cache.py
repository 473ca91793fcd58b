"""Leave the page cache as it was found: what our reads brought in is dropped, and only that.

Whether a page is in memory is asked by reading one byte of it with ``preadv2(RWF_NOWAIT)``, which
answers EAGAIN for an absent page, and in the same moment begins to read what was asked for
(measured on ext4, Linux 6.18); so a page is asked about once, before anything else brings it in,
and alone. One page of each ``PIECE`` is asked about, and where two neighbours differ the border
between them is searched: exact for runs longer than a piece, blind for shorter ones.

The other ways serve fewer: ``mincore(2)`` calls every page present where the file is not ours
(``mm/mincore.c: can_do_mincore``) and ``cachestat(2)`` needs Linux 6.5; both are outside of
systemd's ``@system-service`` (systemd#11445). Where RWF_NOWAIT is not known either (NFS answers
EOPNOTSUPP) every page counts as present, so nothing is dropped.

Kernel readahead is switched off for our descriptor, as it would bring in pages that were not asked
about yet. A window is read ahead on demand instead, which was also the faster of the two.
"""

from __future__ import annotations

import contextlib
import mmap
import os
from collections import deque
from typing import Self

PAGE = mmap.PAGESIZE

PIECE = 1024 * 1024
"""Bytes from one page that is asked about to the next. Memory is reclaimed in longer runs; asking
more often costs two workers a tenth of their speed, in waits for the interpreter's lock."""

REQUEST = 128 * 1024
"""Bytes of one request to read ahead: the kernel cuts longer ones to the device's readahead size
(``mm/readahead.c``), 128 KiB by default."""

WINDOW = 4 * 1024 * 1024
"""Bytes that are read ahead of the read that is due."""


class PageCacheKeeper:
    """Accounts for the pages that reading bytes ``begin`` to ``end`` of a file brings in.

    Use it as a context: on leaving, everything that was brought in is dropped, except that after an
    early end what is still on its way from the disk (less than a window) stays. Ranges that do not
    begin on a page border share that page with their neighbour, and it may stay.
    """

    def __init__(self, fd: int, begin: int, end: int) -> None:
        self._fd = fd
        self._known = begin - begin % PAGE
        self._end = end + -end % PAGE
        self._ours: deque[tuple[int, int]] = deque()
        self._present: bool | None = None

    def __enter__(self) -> Self:
        _advise(self._fd, 0, 0, os.POSIX_FADV_RANDOM)
        return self

    def __exit__(self, *_: object) -> None:
        self.done(self._end)

    def about_to_read(self, until: int) -> None:
        """Ask about the pages before ``until`` and a window more; read the absent ones ahead."""
        if self._present is None:
            self._present = is_present(self._fd, self._known)
        while self._known < min(until + WINDOW, self._end):
            # The last piece has no page after it to compare with; its own last page will do.
            following = min(self._known + PIECE, self._end)
            asked = following if following < self._end else self._end - PAGE
            present = is_present(self._fd, asked) if asked > self._known else self._present
            border = following
            if present != self._present:
                border = self._border(self._known, asked, present)
            if self._present:
                self._bring_in(border, following)
            else:
                self._bring_in(self._known, border)
            self._known, self._present = following, present

    def done(self, until: int) -> None:
        """Drop what we brought in of the pages that end at or before ``until``."""
        until -= until % PAGE
        while self._ours and self._ours[0][0] < until:
            begin, end = self._ours.popleft()
            if end > until:
                self._ours.appendleft((until, end))
                end = until
            _advise(self._fd, begin, end - begin, os.POSIX_FADV_DONTNEED)

    def _border(self, low: int, high: int, present: bool) -> int:
        """Return the first page of those that are as ``high`` is, which ``low`` is not."""
        while high - low > PAGE:
            middle = low + (high - low) // 2 // PAGE * PAGE
            if is_present(self._fd, middle) == present:
                high = middle
            else:
                low = middle
        return high

    def _bring_in(self, begin: int, end: int) -> None:
        """Account for absent pages, and begin to read them."""
        if begin >= end:
            return
        for offset in range(begin, end, REQUEST):
            _advise(self._fd, offset, min(REQUEST, end - offset), os.POSIX_FADV_WILLNEED)
        if self._ours and self._ours[-1][1] == begin:
            begin, _ = self._ours.pop()
        self._ours.append((begin, end))


def is_present(fd: int, offset: int) -> bool:
    """Return whether the page at ``offset`` is in memory; True where that cannot be told."""
    try:
        os.preadv(fd, [bytearray(1)], offset, os.RWF_NOWAIT)
    except BlockingIOError:
        return False
    except OSError:
        # EOPNOTSUPP, or an error that the read itself will meet and report.
        return True
    return True


def _advise(fd: int, offset: int, length: int, advice: int) -> None:
    # It is advice: a filesystem that does not take it still reads correctly.
    with contextlib.suppress(OSError):
        os.posix_fadvise(fd, offset, length, advice)
