from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.checkpoints import write_checkpoint
from tests.s3_server import BUCKET, CREDENTIALS, s3_server

if TYPE_CHECKING:
    from resume_daemon.ledger.queries import RunState
    from tests.daemon.conftest import RunningDaemon

SECRET = CREDENTIALS["AWS_SECRET_ACCESS_KEY"]


def configure(daemon: RunningDaemon, more: str) -> None:
    daemon.config.write_text(daemon.config.read_text() + more, encoding="utf-8")


def whole(state: RunState) -> set[str]:
    return {each.checkpoint for each in state.backups.values() if each.phase == "verified"}


def disk_beside(run: Path) -> Path:
    disk = run.parent / "disk"
    disk.mkdir()
    return disk


def test_a_backup_outlives_the_rotation_and_comes_back_sound(
    run: Path, daemon: RunningDaemon
) -> None:
    disk = disk_beside(run)
    configure(daemon, f"backup: {{to: {disk}, newest: 1, every: 2, keep_every: 5}}\n")
    daemon.start()
    for step in (5, 10, 15, 20, 25):
        write_checkpoint(run, step)
        daemon.wait_for(lambda s, name=f"checkpoint-{step}": name in whole(s))  # type: ignore[misc]
        # As a trainer with save_total_limit=1 does.
        shutil.rmtree(run / f"checkpoint-{step}")
        daemon.wait_for(
            lambda s, name=f"checkpoint-{step}": s.checkpoints[name].verdict == "rotated"  # type: ignore[misc]
        )
    kept = {"checkpoint-10", "checkpoint-20", "checkpoint-25"}
    daemon.wait_for(lambda s: whole(s) == kept)
    assert {each.name.split(".")[0] for each in disk.glob("*/*.backup.json")} == kept
    restored = subprocess.run(
        [sys.executable, "-m", "resume_daemon", "restore", str(run), "checkpoint-10"],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert restored.returncode == 0, restored.stderr
    assert "it is sound" in restored.stdout
    daemon.wait_for(lambda s: s.checkpoints["checkpoint-10"].verdict == "sound")


def test_a_daemon_that_was_killed_goes_on_with_the_backup(run: Path, daemon: RunningDaemon) -> None:
    disk = disk_beside(run)
    write_checkpoint(run, 5)
    plain = daemon.config.read_text()
    configure(daemon, f"backup: {{to: {disk}, mib_per_second: 0.2}}\n")
    daemon.start()
    daemon.wait_for(lambda _: bool(list(disk.glob("*/*/config.json"))))
    daemon.kill()
    assert not list(disk.glob("*/*.backup.json"))
    daemon.config.write_text(plain, encoding="utf-8")
    configure(daemon, f"backup: {{to: {disk}}}\n")
    daemon.start()
    daemon.wait_for(lambda s: whole(s) == {"checkpoint-5"})
    assert len(list(disk.glob("*/*.backup.json"))) == 1


def test_a_new_checkpoint_does_not_wait_for_a_backup(run: Path, daemon: RunningDaemon) -> None:
    disk = disk_beside(run)
    configure(daemon, f"backup: {{to: {disk}, mib_per_second: 0.1}}\n")
    write_checkpoint(run, 5)
    daemon.start()
    daemon.wait_for(lambda _: bool(list(disk.glob("*/*/*"))))
    write_checkpoint(run, 10)
    daemon.wait_for(lambda s: "checkpoint-10" in s.snapshots)
    assert not daemon.of_kind("backup"), "at this speed it takes ten seconds"


def test_a_destination_that_is_not_there_is_an_alert_that_another_one_ends(
    run: Path, daemon: RunningDaemon
) -> None:
    plain = daemon.config.read_text()
    configure(daemon, f"backup: {{to: {run.parent / 'gone'}}}\n")
    write_checkpoint(run, 5)
    daemon.start()
    state = daemon.wait_for(lambda s: bool(s.firing))
    assert list(state.firing) == ["backup-failed"]
    assert "there is no such directory" in state.firing["backup-failed"].condition.message
    daemon.config.write_text(plain, encoding="utf-8")
    configure(daemon, f"backup: {{to: {disk_beside(run)}}}\n")
    assert daemon.process is not None
    daemon.process.send_signal(signal.SIGHUP)
    daemon.wait_for(lambda s: not s.firing and whole(s) == {"checkpoint-5"})


def test_once_makes_the_backups_that_are_owed(run: Path, daemon: RunningDaemon) -> None:
    disk = disk_beside(run)
    configure(daemon, f"backup: {{to: {disk}, newest: 2}}\n")
    for step in (5, 10, 15):
        write_checkpoint(run, step)
    daemon.start("--once")
    assert daemon.process is not None
    assert daemon.process.wait(40) == 0
    assert whole(daemon.state()) == {"checkpoint-10", "checkpoint-15"}


# At that priority nothing else may run beside it, or it takes long.
@pytest.mark.timeout(180)
def test_backups_to_a_bucket_are_made_at_the_lowest_priority(
    run: Path, daemon: RunningDaemon
) -> None:
    configure(daemon, f"backup: {{to: s3://{BUCKET}/runs}}\n")
    write_checkpoint(run, 5)
    with s3_server() as server:
        daemon.start(environ=server.environ)
        daemon.wait_for(lambda s: whole(s) == {"checkpoint-5"}, timeout=150)
        assert sum(key.endswith(".backup.json") for key in server.objects()) == 1
    assert daemon.process is not None
    tasks = [int(each.name) for each in Path(f"/proc/{daemon.process.pid}/task").iterdir()]
    idle = [task for task in tasks if os.sched_getscheduler(task) == os.SCHED_IDLE]
    # The verifier, the task that backs up, and what fsspec talks to the network with.
    assert len(idle) >= 3
    assert daemon.process.pid not in idle
    assert SECRET not in daemon.log.read_text()
    assert SECRET not in (run / ".resume_daemon" / "ledger.jsonl").read_text()
