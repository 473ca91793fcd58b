from __future__ import annotations

import os
import socket
import time
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from resume_daemon.notify import Notifier

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Manager:
    """A service manager's end of the socket."""

    def __init__(self, listener: socket.socket, address: str) -> None:
        self.address = address
        self._listener = listener
        self._listener.settimeout(10)

    def hears(self) -> list[str]:
        """Return the lines of the next datagram."""
        return self._listener.recv(4096).decode().split("\n")

    def hears_nothing(self) -> bool:
        """Return whether no datagram waits; a sent one is there as soon as the send returns."""
        self._listener.setblocking(False)
        try:
            self._listener.recv(4096)
        except BlockingIOError:
            return True
        return False


@pytest.fixture(params=["path", "abstract"])
def manager(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Manager]:
    # A socket's path is limited to 107 bytes, which pytest's directories may exceed.
    monkeypatch.chdir(tmp_path)
    name = f"resume-daemon-test-{os.getpid()}-{tmp_path.name}"
    abstract = request.param == "abstract"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(f"\0{name}" if abstract else "notify")
        yield Manager(listener, f"@{name}" if abstract else "notify")


def test_every_state_is_one_datagram(manager: Manager) -> None:
    notifier = Notifier.from_environment(
        {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "10000000"}
    )
    notifier.ready("watching 2 runs")
    assert manager.hears() == ["READY=1", "STATUS=watching 2 runs"]
    notifier.ready()
    assert manager.hears() == ["READY=1"]
    notifier.status("verifying checkpoint-10")
    assert manager.hears() == ["STATUS=verifying checkpoint-10"]
    notifier.watchdog()
    assert manager.hears() == ["WATCHDOG=1"]
    notifier.stopping()
    assert manager.hears() == ["STOPPING=1"]


def test_a_reload_carries_its_time_in_the_same_datagram(manager: Manager) -> None:
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    Notifier.from_environment({"NOTIFY_SOCKET": manager.address}).reloading()
    after = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    state, moment = manager.hears()
    assert state == "RELOADING=1"
    assert before <= int(moment.removeprefix("MONOTONIC_USEC=")) <= after


def test_a_status_cannot_smuggle_in_another_assignment(manager: Manager) -> None:
    Notifier.from_environment({"NOTIFY_SOCKET": manager.address}).status("a\nMAINPID=1\rb")
    assert manager.hears() == ["STATUS=a MAINPID=1 b"]


def test_children_inherit_nothing_of_it() -> None:
    environ = {
        "NOTIFY_SOCKET": "@x",
        "WATCHDOG_USEC": "1",
        "WATCHDOG_PID": "1",
        "HOME": "/root",
    }
    Notifier.from_environment(environ)
    assert environ == {"HOME": "/root"}


@pytest.mark.parametrize(
    ("environ", "interval"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "10000000"}, 5.0),
        ({"WATCHDOG_USEC": "10000000", "WATCHDOG_PID": str(os.getpid())}, 5.0),
        ({"WATCHDOG_USEC": "10000000", "WATCHDOG_PID": str(os.getpid() + 1)}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_PID": str(os.getpid())}, None),
    ],
)
def test_the_watchdog_is_fed_at_half_its_time_and_only_by_whom_it_watches(
    environ: dict[str, str], interval: float | None
) -> None:
    assert Notifier.from_environment(dict(environ)).watchdog_interval == interval


def test_an_unasked_watchdog_is_not_fed(manager: Manager) -> None:
    Notifier.from_environment({"NOTIFY_SOCKET": manager.address}).watchdog()
    assert manager.hears_nothing()


def test_without_a_manager_nothing_happens() -> None:
    with capture_logs() as logs:
        notifier = Notifier.from_environment({})
        notifier.ready("x")
        notifier.reloading()
        notifier.stopping()
    assert logs == []


def test_a_manager_that_is_gone_is_told_of_once_and_never_raises(tmp_path: Path) -> None:
    notifier = Notifier.from_environment({"NOTIFY_SOCKET": str(tmp_path / "gone")})
    with capture_logs() as logs:
        notifier.ready()
        notifier.stopping()
    assert [log["log_level"] for log in logs] == ["warning"]
    assert logs[0]["socket"] == str(tmp_path / "gone")


def test_a_manager_that_came_back_and_went_again_is_told_of_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    notifier = Notifier.from_environment({"NOTIFY_SOCKET": "notify"})
    with capture_logs() as logs:
        notifier.ready()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
            listener.bind("notify")
            notifier.ready()
        (tmp_path / "notify").unlink()
        notifier.ready()
    assert len(logs) == 2


@pytest.mark.parametrize("address", ["@" + "x" * 200, "/" + "x" * 200, "vsock:2:1"])
def test_an_address_that_cannot_be_reached_costs_one_warning(address: str) -> None:
    with capture_logs() as logs:
        Notifier.from_environment({"NOTIFY_SOCKET": address}).ready()
    assert len(logs) == 1


def test_a_manager_that_does_not_listen_does_not_hold_up_the_loop(manager: Manager) -> None:
    """A real full queue: the send gives up after its second."""
    notifier = Notifier.from_environment({"NOTIFY_SOCKET": manager.address})
    with capture_logs() as logs:
        for _ in range(10_000):
            notifier.status("x" * 1000)
            if logs:
                break
    assert [log["reason"] for log in logs] == ["timed out"]
