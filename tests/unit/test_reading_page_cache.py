"""What the kernel holds of a real file, before and after a scan."""

from __future__ import annotations

import ctypes
import mmap
import os
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest

from resume_daemon.reading.page_cache import PAGE, PIECE, WINDOW, PageCacheKeeper, is_present
from resume_daemon.reading.scan import ReadOptions, scan_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PAGES = 2100
"""Of the file under test: about 8 MiB, three windows, and no whole number of pieces."""


def resident(fd: int) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Ask ``mincore`` which pages of the file are in memory."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p]
    size = os.fstat(fd).st_size
    pages = np.zeros(-(-size // PAGE), np.uint8)
    with mmap.mmap(fd, size, prot=mmap.PROT_READ) as mapping:
        view = np.frombuffer(mapping, np.uint8)
        assert libc.mincore(view.ctypes.data, size, pages.ctypes.data) == 0
        del view
    return (pages & 1).astype(np.bool_)


def evict(fd: int) -> None:
    os.fsync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)


def warm(fd: int, begin: int, end: int) -> None:
    """Read pages ``begin`` to ``end`` into memory, and no others."""
    for page in range(begin, end):
        os.pread(fd, PAGE, page * PAGE)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    path.write_bytes(os.urandom(PAGES * PAGE - 100))
    return path


@pytest.fixture
def fd(path: Path) -> Iterator[int]:
    fd = os.open(path, os.O_RDWR)
    try:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
        evict(fd)
        if resident(fd).any():
            pytest.skip("this filesystem keeps every page in memory (tmpfs does)")
        try:
            os.preadv(fd, [bytearray(1)], 0, os.RWF_NOWAIT)
        except BlockingIOError:
            # The page is on its way now, and cannot be evicted before it has arrived.
            os.pread(fd, PAGE, 0)
            evict(fd)
        except OSError as error:
            pytest.skip(f"this filesystem cannot say which pages are in memory: {error}")
        yield fd
    finally:
        os.close(fd)


@pytest.mark.parametrize(
    ("begin", "end"),
    [
        pytest.param(0, 0, id="cold"),
        pytest.param(0, PAGES, id="warm"),
        pytest.param(0, PAGES // 2 + 5, id="first half"),
        pytest.param(PAGES // 2 + 5, PAGES, id="second half"),
        pytest.param(700, 1400, id="middle"),
    ],
)
@pytest.mark.parametrize("range_bytes", [256 * 1024 * 1024, 4 * 1024 * 1024])
def test_a_scan_leaves_the_page_cache_as_it_was(
    path: Path, fd: int, begin: int, end: int, range_bytes: int
) -> None:
    # A machine short of memory takes pages away at any moment, also while we scan; it does not do
    # so every time, and a scan that leaves something behind would.
    differing: list[int] = []
    for _ in range(8):
        evict(fd)
        warm(fd, begin, end)
        before = resident(fd)
        if int(before.sum()) != end - begin:
            continue
        scan_file(path, options=ReadOptions(range_bytes=range_bytes), cancelled=lambda: False)
        differing.append(int((before != resident(fd)).sum()))
        if differing[-1] <= 2:
            return
    if not differing:
        pytest.skip("the kernel takes pages away, or reads more than is asked for")
    pytest.fail(f"pages that are not as they were, at each attempt: {differing}")


def test_a_cancelled_scan_drops_all_but_what_is_still_on_its_way(fd: int) -> None:
    with PageCacheKeeper(fd, 0, PAGES * PAGE) as keeper:
        keeper.about_to_read(PIECE)
        os.pread(fd, PIECE, 0)
        assert resident(fd)[: PIECE // PAGE].all()
    assert not resident(fd)[: PIECE // PAGE].any()
    assert resident(fd).sum() * PAGE <= WINDOW


def test_what_was_read_is_dropped_before_the_end(fd: int) -> None:
    with PageCacheKeeper(fd, 0, PAGES * PAGE) as keeper:
        keeper.about_to_read(PIECE)
        os.pread(fd, PIECE, 0)
        keeper.done(PIECE)
        assert not resident(fd)[: PIECE // PAGE].any()


def test_a_cold_window_is_read_ahead(fd: int) -> None:
    asked_about = PAGES * PAGE // PIECE + 2
    with PageCacheKeeper(fd, 0, PAGES * PAGE) as keeper:
        keeper.about_to_read(PIECE)
        deadline = time.monotonic() + 20
        # The kernel reads in the background and tells nobody when it is done.
        while resident(fd).sum() <= asked_about and time.monotonic() < deadline:
            time.sleep(0.01)
        assert resident(fd).sum() > asked_about


def test_without_the_wish_to_keep_it_what_is_read_stays(path: Path, fd: int) -> None:
    scan_file(path, options=ReadOptions(keep_page_cache=False), cancelled=lambda: False)
    assert resident(fd).mean() > 0.9


def test_a_page_counts_as_present_where_that_cannot_be_told(
    fd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not is_present(fd, 0)

    def unsupported(*_: object) -> int:
        raise OSError(95, "Operation not supported")

    # As NFS answers; no such mount is at hand in a test.
    monkeypatch.setattr(os, "preadv", unsupported)
    assert is_present(fd, 50 * PAGE)
