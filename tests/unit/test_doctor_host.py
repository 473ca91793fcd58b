"""Permissions, clock and kernel limits: facts of a machine, and what follows from them."""

from __future__ import annotations

import ctypes
import os
import stat
from pathlib import Path

import pytest

from resume_daemon.doctor import clock, limits, permissions
from resume_daemon.doctor.clock import ClockFacts
from resume_daemon.doctor.host import Host
from resume_daemon.doctor.kernel import inotify_limits, inotify_use
from resume_daemon.doctor.limits import LimitFacts
from resume_daemon.doctor.permissions import Owned, PermissionFacts

NOW = 1_800_000_000.0
DIRECTORY = stat.S_IFDIR | 0o755


def owned(uid: int, mode: int = DIRECTORY, name: str = "run") -> Owned:
    return Owned(name, uid, uid, mode)


def said(facts: PermissionFacts) -> list[tuple[str, str]]:
    return [(each.code, each.severity.value) for each in permissions.check(facts)]


def test_a_run_whose_owner_may_write_gives_no_finding() -> None:
    ours = PermissionFacts(owned(1000), (owned(1000, name="checkpoint-5"),), uid=1000)
    assert said(ours) == []
    # Root may write whatever the mode says, and rotate what others own.
    assert said(PermissionFacts(owned(0, stat.S_IFDIR | 0o555), (owned(1000),))) == []


def test_an_owner_who_may_not_write_is_an_error() -> None:
    closed = PermissionFacts(owned(1000, stat.S_IFDIR | 0o555), uid=0)
    assert said(closed) == [("RD857", "error")]
    assert "dr-xr-xr-x" in next(iter(permissions.check(closed))).message
    assert said(PermissionFacts(owned(1000), uid=1000, writable=False)) == [("RD857", "error")]


def test_that_somebody_else_may_not_write_is_only_told() -> None:
    assert said(PermissionFacts(owned(1000), uid=1001, writable=False)) == [("RD857", "info")]


def test_a_read_only_mount_is_an_error() -> None:
    assert said(PermissionFacts(owned(0), read_only=True)) == [("RD856", "error")]


def test_checkpoints_of_another_user_than_the_runs_are_told_with_names() -> None:
    mixed = PermissionFacts(owned(1000), (owned(1000), owned(0, name="checkpoint-9")), uid=1000)
    assert said(mixed) == [("RD859", "warning")]
    assert "checkpoint-9 (user 0)" in next(iter(permissions.check(mixed))).message


def test_what_cannot_be_read_is_told_once_each() -> None:
    facts = PermissionFacts(owned(0), unreadable=(("checkpoint-5/optimizer.pt", "denied"),))
    assert said(facts) == [("RD858", "warning")]


@pytest.mark.parametrize(
    ("ahead", "network", "wrong"),
    [
        (-10.0, False, False),
        (1.5, False, False),
        (3.0, False, True),
        (3.0, True, False),
        (60.0, True, True),
    ],
)
def test_files_of_the_future_show_two_clocks(ahead: float, network: bool, wrong: bool) -> None:
    facts = ClockFacts(NOW, ("checkpoint-5/optimizer.pt", NOW + ahead), network=network)
    found = list(clock.check(facts))
    assert [each.code for each in found] == (["RD860"] if wrong else [])
    assert ("differ" in clock.summary(facts)) is wrong


def test_a_ledger_of_the_future_shows_them_too() -> None:
    (found,) = clock.check(ClockFacts(NOW, recorded=NOW + 3600))
    assert "3600 seconds" in found.message
    assert list(clock.check(ClockFacts(NOW, recorded=NOW))) == []


def codes(facts: LimitFacts) -> list[str]:
    return [each.code for each in limits.check(facts)]


def test_limits_that_suffice_give_no_finding() -> None:
    assert codes(LimitFacts(8192, 128, 100, 5, needed_watches=20, open_files=1024)) == []
    assert codes(LimitFacts(open_files=None, needed_watches=20)) == []


def test_watches_and_instances_count_only_where_a_daemon_would_need_some() -> None:
    full = LimitFacts(8192, 128, 8180, 128, needed_watches=20)
    assert codes(full) == ["RD861", "RD861"]
    assert codes(LimitFacts(8192, 128, 8180, 128, needed_watches=0)) == []


def test_few_open_files_are_a_warning() -> None:
    assert codes(LimitFacts(open_files=256)) == ["RD862"]


def test_the_watches_of_this_process_are_counted() -> None:
    host = Host.here()
    before = inotify_use(host.proc, host.uid)
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.inotify_init1(os.O_CLOEXEC)
    assert descriptor >= 0
    try:
        for place in (b"/", b"/proc"):
            assert libc.inotify_add_watch(descriptor, place, 0x100) >= 0
        watches, instances = inotify_use(Path("/proc"), os.geteuid())
    finally:
        os.close(descriptor)
    # Other processes of this user may come and go meanwhile.
    assert watches >= 2
    assert instances >= 1
    assert before[0] >= 0


def test_of_two_limits_the_smaller_one_holds(tmp_path: Path) -> None:
    for name, value in (
        ("fs/inotify/max_user_watches", 8192),
        ("user/max_inotify_watches", 4096),
        ("fs/inotify/max_user_instances", 128),
    ):
        path = tmp_path / "sys" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{value}\n", encoding="ascii")
    assert inotify_limits(tmp_path) == (4096, 128)
    assert inotify_limits(tmp_path / "nowhere") == (None, None)
