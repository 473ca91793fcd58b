"""Start, signals, reload, the service manager, a full disk, and how a daemon ends."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from resume_daemon.ledger.chain import verify
from resume_daemon.ledger.reader import read_lines
from tests.checkpoints import write_checkpoint, zero_second_half

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.daemon.conftest import RunningDaemon

Receiver = tuple[str, list[dict[str, Any]]]


def test_once_ends_with_0_where_everything_is_sound(run: Path, daemon: RunningDaemon) -> None:
    write_checkpoint(run, 5)
    daemon.start("--once")
    assert _ended(daemon) == 0
    assert daemon.verdicts() == {"checkpoint-5": "sound"}
    assert set(daemon.state().snapshots) == {"checkpoint-5"}


def test_once_ends_with_1_where_a_checkpoint_is_unsound(run: Path, daemon: RunningDaemon) -> None:
    zero_second_half(write_checkpoint(run, 5) / "model.safetensors")
    daemon.start("--once")
    assert _ended(daemon) == 1
    assert daemon.verdicts() == {"checkpoint-5": "unsound"}


def test_once_ends_with_1_where_nothing_can_be_recorded(run: Path, daemon: RunningDaemon) -> None:
    text = daemon.config.read_text().replace("settle_seconds: 0.3", "settle_seconds: 1.5")
    daemon.config.write_text(text, encoding="utf-8")
    write_checkpoint(run, 5)
    daemon.start("--once")
    daemon.wait_for(lambda s: s.daemon is not None)
    _fill_disk(daemon)
    assert _ended(daemon) == 1
    assert daemon.verdicts() == {}


def test_term_stops_the_reading_of_a_huge_file_within_five_seconds(
    run: Path, daemon: RunningDaemon
) -> None:
    _grow_to(write_checkpoint(run, 5) / "model.safetensors", gigabytes=50)
    _configure(daemon, "verify: {read_mib_per_second: 20}", "log: {level: debug}")
    daemon.start()
    daemon.wait_for(lambda _: '"VerifyJob"' in daemon.log.read_text())
    assert daemon.stop(timeout=5) == 0
    assert daemon.verdicts() == {}
    assert daemon.of_kind("daemon")[-1]["event"] == "stop"


def test_a_reload_takes_up_new_waits_and_new_sinks(
    run: Path, daemon: RunningDaemon, receiver: Receiver
) -> None:
    url, received = receiver
    quick = daemon.config.read_text()
    slow = quick.replace("settle_seconds: 0.3, abandon_seconds: 2", "settle_seconds: 600")
    daemon.config.write_text(slow, encoding="utf-8")
    zero_second_half(write_checkpoint(run, 5) / "model.safetensors")
    daemon.start()
    daemon.wait_for(lambda s: s.daemon is not None)
    daemon.config.write_text(quick, encoding="utf-8")
    _configure(daemon, f"alerts: {{sinks: [{{name: hook, type: webhook, url: '{url}'}}]}}")
    _reload(daemon)
    daemon.wait_for(lambda s: "checkpoint-5" in s.checkpoints)
    daemon.wait_for(lambda _: len(daemon.of_kind("alert")) == 1)
    assert [body["condition"]["code"] for body in received] == ["RD701"]


def test_a_reload_of_a_wrong_file_keeps_the_old_settings_and_says_what_is_wrong(
    run: Path, daemon: RunningDaemon
) -> None:
    daemon.start()
    daemon.wait_for(lambda s: s.daemon is not None)
    _configure(daemon, "verify: {worker: 3}")
    _reload(daemon)
    daemon.wait_for(lambda _: "not reloaded" in daemon.log.read_text())
    assert "verify.worker is not a setting; did you mean workers?" in daemon.log.read_text()
    write_checkpoint(run, 5)
    daemon.wait_for(lambda s: "checkpoint-5" in s.checkpoints)
    assert daemon.stop() == 0


def test_the_service_manager_is_told_of_start_work_reload_and_stop(
    run: Path, daemon: RunningDaemon, manager: tuple[str, socket.socket]
) -> None:
    address, messages = manager
    write_checkpoint(run, 5)
    daemon.start(environ={"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "400000"})
    assert "READY=1" in _told(messages, "READY=1")
    assert "newest sound checkpoint-5" in _told(messages, "1 checkpoints (1 sound)")
    assert _told(messages, "WATCHDOG=1")
    _reload(daemon)
    # With its time, or systemd would take a late one for the next reload's.
    assert "\nMONOTONIC_USEC=" in _told(messages, "RELOADING=1")
    assert _told(messages, "READY=1")
    assert daemon.stop() == 0
    assert _told(messages, "STOPPING=1")


def test_a_daemon_that_waits_for_its_run_is_ready_and_starts_when_it_is_there(
    run: Path, daemon: RunningDaemon, manager: tuple[str, socket.socket]
) -> None:
    address, messages = manager
    run.rmdir()
    daemon.start("--wait", environ={"NOTIFY_SOCKET": address})
    assert f"STATUS=waiting for {run}" in _told(messages, "READY=1")
    run.mkdir()
    write_checkpoint(run, 5)
    daemon.wait_for(lambda s: "checkpoint-5" in s.checkpoints)


def test_a_full_disk_alerts_once_at_once_and_everything_is_recorded_when_there_is_room(
    run: Path, daemon: RunningDaemon, receiver: Receiver
) -> None:
    url, received = receiver
    _configure(daemon, f"alerts: {{sinks: [{{name: hook, type: webhook, url: '{url}'}}]}}")
    daemon.start()
    write_checkpoint(run, 5)
    daemon.wait_for(lambda s: "checkpoint-5" in s.snapshots)
    _fill_disk(daemon)
    write_checkpoint(run, 10)
    daemon.wait_for(lambda _: bool(received))
    assert set(daemon.verdicts()) == {"checkpoint-5"}
    _fill_disk(daemon, full=False)
    daemon.wait_for(lambda s: "checkpoint-10" in s.snapshots)
    daemon.wait_for(lambda _: len(daemon.of_kind("alert")) == 1)
    assert daemon.stop() == 0
    told = [(body["condition"]["code"], body["type"]) for body in received]
    assert told == [("RD706", "condition.firing"), ("RD706", "condition.resolved")]
    assert str(run / ".resume_daemon") in received[0]["condition"]["message"]
    # It lasted from the failed write on, not from when that could be written down.
    assert received[1]["since"] == received[0]["since"]
    assert verify(read_lines(run / ".resume_daemon" / "ledger.jsonl")).first_break is None


def test_a_snapshot_that_cannot_be_written_is_a_matter_of_the_disk_not_of_the_checkpoint(
    run: Path, daemon: RunningDaemon
) -> None:
    daemon.start()
    daemon.wait_for(lambda s: s.daemon is not None)
    snapshots = run / ".resume_daemon" / "snapshots"
    snapshots.rmdir()
    snapshots.write_text("no directory", encoding="utf-8")
    write_checkpoint(run, 5)
    state = daemon.wait_for(lambda s: bool(s.firing))
    assert {f.condition.code for f in state.firing.values()} == {"RD706"}
    assert state.checkpoints["checkpoint-5"].verdict == "sound"


def test_a_run_that_cannot_be_written_keeps_its_state_in_the_users_state_directory(
    run: Path, daemon: RunningDaemon, tmp_path: Path
) -> None:
    # A file in its place keeps the sidecar out even where root runs this.
    (run / ".resume_daemon").write_text("in the way", encoding="utf-8")
    environ = {"XDG_STATE_HOME": str(tmp_path / "state"), "STATE_DIRECTORY": ""}
    write_checkpoint(run, 5)
    daemon.start("--once", environ=environ)
    assert _ended(daemon) == 0
    shown = subprocess.run(
        [sys.executable, "-m", "resume_daemon", "status", "--json", str(run)],
        env={**os.environ, **environ},
        capture_output=True,
        timeout=30,
        check=True,
    )
    status = json.loads(shown.stdout)
    assert [c["verdict"] for c in status["checkpoints"]] == ["sound"]
    assert status["state_directory"].startswith(str(tmp_path / "state" / "resume_daemon"))


def test_a_side_task_that_dies_ends_the_daemon_with_1_and_its_name(
    run: Path, daemon: RunningDaemon
) -> None:
    script = (
        "import sys\n"
        "from resume_daemon.daemon import tracker_task\n"
        "def broken(*_): raise RuntimeError('broken on purpose')\n"
        "tracker_task.TrackerTask.read = broken\n"
        "from resume_daemon.cli import main\n"
        "main()\n"
    )
    arguments = ["run", "--config", str(daemon.config)]
    ended = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, timeout=30, check=False
    )
    assert ended.returncode == 1
    assert "side task trackers ended: RuntimeError('broken on purpose')" in ended.stderr.decode()
    assert daemon.of_kind("daemon")[-1]["event"] == "failed"


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    """Return the address of a service manager's socket, and the socket."""
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(address)
        listening.settimeout(20)
        yield address, listening


def _told(messages: socket.socket, part: str) -> str:
    """Return the next datagram that has ``part`` in it."""
    while part not in (message := messages.recv(4096).decode()):
        pass
    return message


def _ended(daemon: RunningDaemon) -> int:
    assert daemon.process is not None
    return daemon.process.wait(40)


def _reload(daemon: RunningDaemon) -> None:
    assert daemon.process is not None
    daemon.process.send_signal(signal.SIGHUP)


def _fill_disk(daemon: RunningDaemon, *, full: bool = True) -> None:
    """Let no file of the daemon grow any more, as on a full disk but without root; or undo it."""
    assert daemon.process is not None
    _, hard = resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE)
    soft = 0 if full else hard
    resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, (soft, hard))


def _configure(daemon: RunningDaemon, *lines: str) -> None:
    text = daemon.config.read_text() + "".join(f"{line}\n" for line in lines)
    daemon.config.write_text(text, encoding="utf-8")


def _grow_to(path: Path, *, gigabytes: int) -> None:
    """Make a file of one zero tensor, with a whole header and no blocks on disk."""
    rows = gigabytes * 10**9 // 2048
    tensor = {"dtype": "BF16", "shape": [rows, 1024], "data_offsets": [0, rows * 2048]}
    header = json.dumps({"w": tensor}).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        file.truncate(8 + len(header) + rows * 2048)
