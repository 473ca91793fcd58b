"""Checkpoints that are files, beside a running daemon: Lightning's."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

from typer.testing import CliRunner

from resume_daemon.cli import app
from tests.checkpoints import write_json
from tests.layouts.lightning import name_at, write_file, write_fsdp

if TYPE_CHECKING:
    from pathlib import Path

    from tests.daemon.conftest import RunningDaemon

TEN = name_at(10)
TWENTY = name_at(20)


def test_files_that_appear_get_a_verdict_a_manifest_and_a_snapshot(
    run: Path, daemon: RunningDaemon
) -> None:
    write_json(run / "curriculum_state.json", {"current_stage": "addition", "current_step": 10})
    daemon.start()
    write_file(run, 10)
    state = daemon.wait_for(lambda s: TEN in s.snapshots)
    checkpoint = state.checkpoints[TEN]
    assert (checkpoint.layout, checkpoint.step, checkpoint.verdict) == ("lightning", 10, "sound")
    kept = run / ".resume_daemon"
    manifest = json.loads((kept / "manifests" / f"{TEN}.json").read_text(encoding="utf-8"))
    assert [file["name"] for file in manifest["files"]] == [TEN]
    assert (kept / "snapshots" / TEN / "snapshot.json").is_file()
    assert state.snapshots[TEN].step == 10
    assert (kept / "snapshots" / TEN / "curriculum" / "curriculum_state.json").is_file()

    shown = CliRunner().invoke(app, ["status", "--json", str(run)])
    (row,) = json.loads(shown.stdout)["checkpoints"]
    assert (row["checkpoint"], row["step"], row["verdict"]) == (TEN, 10, "sound")
    assert json.loads(shown.stdout)["newest_sound"] == TEN


def test_a_file_that_grows_is_not_judged_before_it_has_an_end(
    run: Path, daemon: RunningDaemon
) -> None:
    content = write_file(run.parent / "elsewhere", 10).read_bytes()
    daemon.start()
    daemon.wait_for(lambda s: s.seq > 0)
    piece = len(content) // 8
    with (run / TEN).open("wb") as file:
        for begin in range(0, len(content), piece):
            file.write(content[begin : begin + piece])
            file.flush()
            # Slower than it takes to settle: a copy between file systems may pause.
            time.sleep(0.4)
    daemon.wait_for(lambda s: TEN in s.checkpoints)
    assert [each["verdict"] for each in daemon.of_kind("verdict")] == ["sound"]


def test_a_file_that_never_ends_is_incomplete_and_sound_when_it_is_finished(
    run: Path, daemon: RunningDaemon
) -> None:
    path = write_file(run, 10)
    content = path.read_bytes()
    path.write_bytes(content[:-100])
    daemon.start()
    daemon.wait_for(lambda s: TEN in s.checkpoints)
    path.write_bytes(content)
    daemon.wait_for(lambda s: s.checkpoints[TEN].verdict == "sound")
    assert [each["verdict"] for each in daemon.of_kind("verdict")] == ["incomplete", "sound"]


def test_a_file_that_the_trainer_removed_is_rotated(run: Path, daemon: RunningDaemon) -> None:
    path = write_file(run, 10)
    write_file(run, 20)
    daemon.start()
    daemon.wait_for(lambda s: len(s.snapshots) == 2)
    path.unlink()
    state = daemon.wait_for(lambda s: s.checkpoints[TEN].verdict == "rotated")
    assert state.checkpoints[TEN].step == 10
    assert state.firing == {}


def test_the_last_one_is_judged_again_at_each_save_and_a_link_never(
    run: Path, daemon: RunningDaemon
) -> None:
    last = run / "last.ckpt"
    write_file(run, 10).rename(last)
    (run / "last-v1.ckpt").symlink_to(TWENTY)
    daemon.start()
    state = daemon.wait_for(lambda s: "last.ckpt" in s.snapshots)
    assert state.checkpoints["last.ckpt"].step == 10
    new = write_file(run.parent / "elsewhere", 20)
    new.replace(last)
    state = daemon.wait_for(lambda s: s.checkpoints["last.ckpt"].step == 20)
    daemon.wait_for(lambda s: s.snapshots["last.ckpt"].step == 20)
    assert daemon.verdicts() == {"last.ckpt": "sound"}


def test_a_damaged_file_is_unsound_and_the_directory_beside_it_is_not(
    run: Path, daemon: RunningDaemon
) -> None:
    write_fsdp(run, 10)
    path = write_file(run, 20)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    daemon.start()
    daemon.wait_for(lambda s: len(s.checkpoints) == 2)
    assert daemon.verdicts() == {TEN: "sound", TWENTY: "unsound"}
    state = daemon.wait_for(lambda s: bool(s.firing))
    assert list(state.firing) == [f"checkpoint-unsound:{TWENTY}"]


def test_a_file_takes_the_place_of_a_directory(run: Path, daemon: RunningDaemon) -> None:
    (run / "last.ckpt").mkdir()
    daemon.start()
    daemon.wait_for(lambda s: s.seq > 0)
    (run / "last.ckpt").rmdir()
    write_file(run, 10).rename(run / "last.ckpt")
    daemon.wait_for(lambda s: "last.ckpt" in s.checkpoints)
    assert daemon.verdicts()["last.ckpt"] == "sound"
