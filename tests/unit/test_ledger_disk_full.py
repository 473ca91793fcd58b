"""Writes that really fail: at a limit of the file size, and on a full disk where root may mount."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from resume_daemon.errors import LedgerError
from resume_daemon.ledger.chain import verify
from resume_daemon.ledger.ledger import Ledger
from resume_daemon.ledger.reader import read_lines

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """Let writes beyond ``size`` bytes of any file fail with EFBIG."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    mount = tmp_path / "disk"
    mount.mkdir()
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("mounting a small file system needs root and mount")
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(mount)]
    if (tried := subprocess.run(command, capture_output=True, check=False)).returncode:
        pytest.skip(f"mount refused: {tried.stderr.decode().strip()}")
    yield mount
    subprocess.run(["umount", str(mount)], check=True)


def fill(ledger: Ledger) -> None:
    for number in range(1000):
        ledger.append("report", number=number, text="x" * 700)


@pytest.mark.parametrize("room", [0, 1, 60, 1000])
def test_a_write_that_fails_midway_leaves_the_chain_whole_and_the_ledger_usable(
    tmp_path: Path, room: int
) -> None:
    path = tmp_path / "ledger.jsonl"
    with Ledger.open(path, "run") as ledger:
        ledger.append("daemon", event="started")
        before = path.read_bytes()
        records = [("report", {"text": "x" * 500}) for _ in range(4)]
        with file_size_limit(len(before) + room), pytest.raises(LedgerError, match="too large"):
            ledger.append_many(records)
        assert path.read_bytes() == before
        assert [record.seq for record in ledger.append_many(records)] == [2, 3, 4, 5]
    assert verify(read_lines(path)).records == 5


def test_a_full_disk_is_reported_and_appending_goes_on_once_there_is_room(
    small_disk: Path,
) -> None:
    path = small_disk / "ledger.jsonl"
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * 20_000)
    with Ledger.open(path, "run") as ledger:
        with pytest.raises(LedgerError, match="Free space") as caught:
            fill(ledger)
        assert "No space left" in caught.value.reason
        full = verify(read_lines(path))
        assert (full.last, full.first_break, full.torn_tail_bytes) == (ledger.last, None, 0)
        ballast.unlink()
        assert ledger.append("report", text="x" * 700).seq == full.records + 1
    assert verify(read_lines(path)).records == full.records + 1


def test_a_torn_tail_stays_where_it_is_while_there_is_no_room_to_set_it_aside(
    small_disk: Path,
) -> None:
    path = small_disk / "ledger.jsonl"
    with Ledger.open(path, "run") as ledger:
        ledger.append("daemon", event="started")
    torn = path.read_bytes() + b"t" * 9000
    path.write_bytes(torn)
    with (small_disk / "ballast").open("wb", buffering=0) as ballast:
        try:
            while ballast.write(b"x" * 4096):
                pass
        except OSError:
            pass
    with pytest.raises(LedgerError, match="Free space"):
        Ledger.open(path, "run")
    assert path.read_bytes() == torn
    assert not list(small_disk.glob("*torn*"))
    (small_disk / "ballast").unlink()
    with Ledger.open(path, "run") as ledger:
        assert ledger.torn is not None
        assert ledger.torn.size == 9000
