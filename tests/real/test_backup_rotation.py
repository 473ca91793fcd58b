"""What transformers' own rotation leaves of checkpoints that were backed up and put back."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from resume_daemon.cli import app
from tests.checkpoints import write_checkpoint

torch = pytest.importorskip("torch", reason="the real trainer needs torch")

from transformers.trainer_utils import rotate_checkpoints  # noqa: E402 - after importorskip

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.real


def command(*arguments: object) -> None:
    done = CliRunner().invoke(app, [*map(str, arguments)])
    assert done.exit_code == 0, done.stderr


def save(run: Path, step: int) -> None:
    """Save a checkpoint as if the trainer took a minute for each step."""
    checkpoint = write_checkpoint(run, step)
    moment = 1_700_000_000 + 60 * step
    for path in (*checkpoint.iterdir(), checkpoint):
        os.utime(path, (moment, moment))


def names(run: Path) -> set[str]:
    return {path.name for path in run.glob("checkpoint-*")}


@pytest.mark.parametrize("use_mtime", [True, False])
def test_a_restored_checkpoint_is_rotated_by_its_age_and_its_backup_stays(
    tmp_path: Path, use_mtime: bool
) -> None:
    run, disk = tmp_path / "run", tmp_path / "disk"
    disk.mkdir()
    save(run, 5)
    command("backup", run, "--to", disk)
    for step in (10, 15):
        save(run, step)
        rotate_checkpoints(str(run), save_total_limit=2, use_mtime=use_mtime)
    assert names(run) == {"checkpoint-10", "checkpoint-15"}
    command("restore", run, "checkpoint-5", "--from", disk)
    assert names(run) == {"checkpoint-5", "checkpoint-10", "checkpoint-15"}
    save(run, 20)
    rotate_checkpoints(str(run), save_total_limit=3, use_mtime=use_mtime)
    assert names(run) == {"checkpoint-10", "checkpoint-15", "checkpoint-20"}
    command("backup", run, "--to", disk, "--verify")
    command("restore", run, "checkpoint-5", "--from", disk)
    assert "checkpoint-5" in names(run)


def test_a_destination_inside_of_the_run_is_no_checkpoint_to_the_trainer(tmp_path: Path) -> None:
    run = tmp_path / "run"
    save(run, 5)
    (run / "kept").mkdir()
    command("backup", run, "--to", run / "kept")
    for step in (10, 15, 20):
        save(run, step)
        rotate_checkpoints(str(run), save_total_limit=1, use_mtime=True)
    assert names(run) == {"checkpoint-20"}
    command("backup", run, "--to", run / "kept", "--verify")
