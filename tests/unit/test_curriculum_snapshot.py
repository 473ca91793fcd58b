from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from resume_daemon.curriculum.assignment import Assignment, Known, assign
from resume_daemon.curriculum.collect import collect
from resume_daemon.curriculum.snapshot import (
    SnapshotIndex,
    is_whole,
    list_snapshots,
    read_snapshot,
    recover,
    write_snapshot,
)
from resume_daemon.errors import FormatError, VanishedError
from resume_daemon.listing import list_directory

if TYPE_CHECKING:
    from pathlib import Path

CONTENTS = {
    "curriculum/curriculum_state.json": b'{"current_stage": 4}',
    "trainer_state.json": b'{"global_step": 310}',
    "configuration/train/config.yaml": b"lr: 1\n",
}


def assignment() -> Assignment:
    found = assign(310, [Known("d" * 64, 300, 1, "curriculum_state.json", 4)])
    assert found is not None
    return found


def index(step: int = 310) -> SnapshotIndex:
    return SnapshotIndex("checkpoint-310", step, {"curriculum_state.json": assignment()})


def test_a_snapshot_reads_back_as_it_was_written(tmp_path: Path) -> None:
    written = write_snapshot(tmp_path, CONTENTS, index())
    snapshot = read_snapshot(tmp_path / "checkpoint-310")
    assert snapshot.index == written
    assert snapshot.index.curriculum["curriculum_state.json"] == assignment()
    assert {name: snapshot.content(name) for name in CONTENTS} == CONTENTS
    assert [path.name for path in list_snapshots(tmp_path)] == ["checkpoint-310"]
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-310"]


def test_a_second_snapshot_replaces_the_first_whole(tmp_path: Path) -> None:
    write_snapshot(tmp_path, CONTENTS, index())
    write_snapshot(tmp_path, {"trainer_state.json": b"{}"}, index())
    assert set(read_snapshot(tmp_path / "checkpoint-310").index.files) == {"trainer_state.json"}
    assert not (tmp_path / "checkpoint-310" / "curriculum").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-310"]


@pytest.mark.parametrize("name", ["../x", "/etc/x", "", "a/../../x", "snapshot.json", "a\0b"])
def test_a_name_that_leaves_the_snapshot_is_refused_before_anything_is_written(
    tmp_path: Path, name: str
) -> None:
    with pytest.raises(ValueError, match="snapshot"):
        write_snapshot(tmp_path, {name: b""}, index())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("checkpoint", ["..", ".hidden", "a/b", ""])
def test_a_checkpoint_name_that_is_no_directory_name_is_refused(
    tmp_path: Path, checkpoint: str
) -> None:
    with pytest.raises(ValueError, match="no name"):
        write_snapshot(tmp_path, {}, SnapshotIndex(checkpoint, 1))


@pytest.mark.parametrize("name", [*CONTENTS, "snapshot.json"])
def test_any_flipped_bit_in_any_file_is_found(tmp_path: Path, name: str) -> None:
    write_snapshot(tmp_path, CONTENTS, index())
    path = tmp_path / "checkpoint-310" / name
    content = bytearray(path.read_bytes())
    content[0] ^= 1
    path.write_bytes(content)
    with pytest.raises(FormatError):
        read_snapshot(tmp_path / "checkpoint-310")


def test_a_missing_file_is_damage_and_a_missing_snapshot_is_not(tmp_path: Path) -> None:
    write_snapshot(tmp_path, CONTENTS, index())
    (tmp_path / "checkpoint-310" / "trainer_state.json").unlink()
    with pytest.raises(FormatError, match="gone"):
        read_snapshot(tmp_path / "checkpoint-310")
    with pytest.raises(VanishedError):
        read_snapshot(tmp_path / "checkpoint-320")


def test_an_index_that_points_outside_is_refused(tmp_path: Path) -> None:
    write_snapshot(tmp_path, CONTENTS, index())
    path = tmp_path / "checkpoint-310" / "snapshot.json"
    path.write_text(path.read_text().replace("trainer_state.json", "../../../etc/passwd"))
    with pytest.raises(FormatError, match="index is damaged"):
        read_snapshot(tmp_path / "checkpoint-310")


@pytest.mark.parametrize("step", range(1, 20))
def test_a_kill_at_any_flush_or_rename_leaves_a_whole_snapshot(tmp_path: Path, step: int) -> None:
    write_snapshot(tmp_path, CONTENTS, index(1))
    killed = _killed_at(tmp_path, step)
    recover(tmp_path)
    snapshot = read_snapshot(tmp_path / "checkpoint-310")
    assert snapshot.index.step in {1, 2}
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-310"]
    if not killed:
        assert snapshot.index.step == 2


def _killed_at(snapshots: Path, step: int) -> bool:
    """Replace the snapshot in a child that kills itself at its ``step``-th change of the disk."""
    script = """
import os, shutil, signal, sys
from pathlib import Path
from resume_daemon.curriculum.snapshot import SnapshotIndex, write_snapshot
left = int(sys.argv[2])
def counted(real):
    def call(*arguments, **options):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **options)
    return call
os.fsync, os.rename, os.unlink = counted(os.fsync), counted(os.rename), counted(os.unlink)
Path.rename = counted(Path.rename)
write_snapshot(Path(sys.argv[1]), {"trainer_state.json": b"{}", "curriculum/a.json": b"[]"},
               SnapshotIndex("checkpoint-310", 2))
"""
    child = subprocess.run(
        [sys.executable, "-c", script, str(snapshots), str(step)],
        check=False,
        timeout=30,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert child.returncode in {0, -signal.SIGKILL}
    return child.returncode != 0


def test_a_kill_at_any_moment_leaves_a_whole_snapshot(tmp_path: Path) -> None:
    script = """
import sys
from pathlib import Path
from resume_daemon.curriculum.snapshot import SnapshotIndex, recover, write_snapshot
recover(Path(sys.argv[1]))
step = 0
while True:
    step += 1
    files = {f"configuration/{n}.yaml": bytes([step % 256]) * 1000 for n in range(4)}
    write_snapshot(Path(sys.argv[1]), files, SnapshotIndex("checkpoint-310", step))
    sys.stdout.write("x")
    sys.stdout.flush()
"""
    for kill in range(30):
        with subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path)],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        ) as child:
            assert child.stdout is not None
            # A different number of replacements each time, so the kill falls on other moments.
            assert os.read(child.stdout.fileno(), 1 + kill % 5)
            child.kill()
        if kill % 2:
            recover(tmp_path)
            assert is_whole(tmp_path / "checkpoint-310")
    recover(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-310"]
    assert read_snapshot(tmp_path / "checkpoint-310").index.step >= 1


def test_an_old_copy_is_never_removed_while_nothing_is_in_its_place(tmp_path: Path) -> None:
    write_snapshot(tmp_path, CONTENTS, index())
    (tmp_path / "checkpoint-310").rename(tmp_path / ".checkpoint-310.00000000.old")
    (tmp_path / ".checkpoint-310.00000000.new").mkdir()
    (tmp_path / ".checkpoint-310.00000000.old" / "trainer_state.json").write_bytes(b"damaged")
    assert "rolled back" in recover(tmp_path)[0]
    assert not is_whole(tmp_path / "checkpoint-310")
    assert (tmp_path / "checkpoint-310" / "trainer_state.json").read_bytes() == b"damaged"


def test_a_replacement_that_was_flushed_is_finished_rather_than_rolled_back(
    tmp_path: Path,
) -> None:
    write_snapshot(tmp_path, CONTENTS, index(1))
    (tmp_path / "checkpoint-310").rename(tmp_path / ".checkpoint-310.00000000.old")
    write_snapshot(tmp_path, CONTENTS, index(2))
    (tmp_path / "checkpoint-310").rename(tmp_path / ".checkpoint-310.00000000.new")
    assert "finished" in recover(tmp_path)[0]
    assert read_snapshot(tmp_path / "checkpoint-310").index.step == 2


def test_recovery_of_nothing_does_nothing(tmp_path: Path) -> None:
    assert recover(tmp_path / "absent") == []
    write_snapshot(tmp_path, CONTENTS, index())
    assert recover(tmp_path) == []


class Run:
    """A run directory with one checkpoint and a configuration."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.checkpoint = root / "checkpoint-310"
        for name in (
            "checkpoint-310/trainer_state.json",
            "checkpoint-310/adapter_config.json",
            "checkpoint-310/reward/adapter_config.json",
            "checkpoint-310/training_args.bin",
            "checkpoint-310/adapter_model.safetensors",
            "checkpoint-310/deep/er/adapter_config.json",
            "conf/train.yaml",
        ):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(name)


def test_the_small_files_of_a_checkpoint_and_the_configuration_are_collected(
    tmp_path: Path,
) -> None:
    run = Run(tmp_path / "run")
    (tmp_path / "launch.yaml").write_text("x")
    listing = list_directory(run.checkpoint, boundary=run.root)
    found = collect(listing, run.root, ["conf/*.yaml", str(tmp_path / "launch.yaml"), "absent/*"])
    outside = str((tmp_path / "launch.yaml").relative_to("/"))
    assert set(found.contents) == {
        "trainer_state.json",
        "adapter_config.json",
        "reward/adapter_config.json",
        "training_args.bin",
        "configuration/conf/train.yaml",
        f"configuration/{outside}",
    }
    assert not found.left_out
    write_snapshot(tmp_path / "snapshots", found.contents, index())


def test_links_out_of_the_run_are_left_out_and_said(tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    (tmp_path / "secret").write_text("secret")
    (run.checkpoint / "config.json").symlink_to(tmp_path / "secret")
    (run.root / "conf" / "link.yaml").symlink_to(tmp_path / "secret")
    os.mkfifo(run.root / "conf" / "fifo.yaml")
    listing = list_directory(run.checkpoint, boundary=run.root)
    found = collect(listing, run.root, ["conf/*"])
    assert set(found.left_out) == {
        "config.json",
        "configuration/conf/link.yaml",
        "configuration/conf/fifo.yaml",
    }
    assert b"secret" not in found.contents.values()


def test_a_checkpoint_that_is_rotated_meanwhile_is_said_to_vanish(tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    listing = list_directory(run.checkpoint, boundary=run.root)
    (run.checkpoint / "trainer_state.json").unlink()
    with pytest.raises(VanishedError):
        collect(listing, run.root)


def test_a_file_beyond_the_bound_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(tmp_path / "run")
    monkeypatch.setattr("resume_daemon.curriculum.collect.CONFIGURATION_LIMIT", 3)
    listing = list_directory(run.checkpoint, boundary=run.root)
    found = collect(listing, run.root, ["conf/*.yaml"])
    assert "configuration/conf/train.yaml" in found.left_out
