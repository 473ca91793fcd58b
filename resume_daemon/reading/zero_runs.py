"""Runs of zero bytes that hold at least one whole page of the file: what a lost write leaves.

Only the first word of each page is looked at, unless it is zero.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

PAGE: Final = 4_096
"""Bytes of the smallest unit that a file system loses when a write never reaches the disk."""

MOST_RUNS: Final = 64
"""Runs that are told one by one; a tensor with more of them is sparse on purpose."""

_WORD: Final = 8


class ZeroRuns:
    """The runs in the bytes fed so far, in order and without gap."""

    def __init__(self) -> None:
        self._begin: int | None = None
        self._end = 0
        self._head = 0
        """Zeros at the beginning, in bytes: a run that may have begun before."""
        self._tail = 0
        """Zeros at the end, in bytes: a run that may go on."""
        self._runs: list[tuple[int, int]] = []
        """Those between two bytes that are not zero."""

    def feed(self, raw: NDArray[np.uint8], offset: int) -> None:
        """Take the bytes that lie at ``offset`` of the file."""
        if not len(raw):
            return
        if not raw[0] and not raw[-1] and not raw.max():
            head = tail = len(raw)
        else:
            head, tail = leading_zeros(raw), trailing_zeros(raw)
        some = head < len(raw) and len(self._runs) <= MOST_RUNS
        inner = _inner_runs(raw, offset) if some else []
        self._join(offset, offset + len(raw), head, tail, inner)

    def absorb(self, following: ZeroRuns) -> None:
        """Join the runs of the bytes that follow."""
        if following._begin is not None:
            self._join(
                following._begin, following._end, following._head, following._tail, following._runs
            )

    @property
    def tail(self) -> int:
        """Length in bytes of the run of zeros at the end."""
        return self._tail

    def found(self) -> tuple[tuple[int, int], ...]:
        """Return begin and end (exclusive) of each run in the file, when all has been fed.

        The first ``MOST_RUNS`` of them, and one more where there are more.
        """
        if self._begin is None:
            return ()
        first = (self._begin, self._begin + self._head)
        last = (self._end - self._tail, self._end)
        runs = [first] if first[1] == self._end else [first, *self._runs, last]
        return tuple([run for run in runs if holds_page(*run)][: MOST_RUNS + 1])

    def _join(
        self, begin: int, end: int, head: int, tail: int, inner: list[tuple[int, int]]
    ) -> None:
        if self._begin is None:
            self._begin, self._end, self._head, self._tail = begin, end, head, tail
            self._runs = inner[: MOST_RUNS + 1]
            return
        if self._head == self._end - self._begin:
            self._head += head
        elif head < end - begin and holds_page(begin - self._tail, begin + head):
            self._runs.append((begin - self._tail, begin + head))
        self._tail = tail if head < end - begin else self._tail + tail
        self._runs = (self._runs + inner)[: MOST_RUNS + 1]
        self._end = end


def holds_page(begin: int, end: int) -> bool:
    """Return whether at least one whole page lies between two offsets."""
    return -begin % PAGE + PAGE <= end - begin


def leading_zeros(raw: NDArray[np.uint8]) -> int:
    """Return the length in bytes of the run of zeros at the beginning."""
    if not len(raw) or raw[0]:
        return 0
    for begin in range(0, len(raw), PAGE):
        if (found := np.flatnonzero(raw[begin : begin + PAGE])).size:
            return begin + int(found[0])
    return len(raw)


def trailing_zeros(raw: NDArray[np.uint8]) -> int:
    """Return the length in bytes of the run of zeros at the end."""
    end = len(raw)
    if not end or raw[-1]:
        return 0
    while end > 0 and not (found := np.flatnonzero(raw[max(end - PAGE, 0) : end])).size:
        end -= PAGE
    if end <= 0:
        return len(raw)
    return len(raw) - max(end - PAGE, 0) - int(found[-1]) - 1


def _inner_runs(raw: NDArray[np.uint8], offset: int) -> list[tuple[int, int]]:
    """Return the runs between two bytes that are not zero."""
    skipped = -offset % PAGE
    count = max(len(raw) - skipped, 0) // PAGE
    pages = raw[skipped : skipped + count * PAGE].reshape(count, PAGE)
    candidates = np.flatnonzero(pages[:, :_WORD].view("<u8") == 0)
    runs: list[tuple[int, int]] = []
    reached = 0
    for page in candidates.tolist():
        at = skipped + page * PAGE
        if at < reached or raw[at : at + PAGE].max():
            continue
        begin, reached = at - trailing_zeros(raw[:at]), at + leading_zeros(raw[at:])
        # What touches an edge is a part of a run, and joined there.
        if begin > 0 and reached < len(raw):
            runs.append((offset + begin, offset + reached))
            if len(runs) > MOST_RUNS:
                break
    return runs
