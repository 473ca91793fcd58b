"""Every layout goes to a backup and comes back as it was, also those that are files."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from resume_daemon.backup.copying import Subject, back_up
from resume_daemon.backup.destinations.directory import DirectoryDestination
from resume_daemon.backup.pace import Pace
from resume_daemon.backup.restoring import restore
from resume_daemon.errors import UsageError
from resume_daemon.layouts.registry import checkpoints_in, list_checkpoint
from resume_daemon.verification import verify
from tests.layouts import builders

if TYPE_CHECKING:
    from pathlib import Path


def contents(checkpoint: Path) -> dict[str, bytes]:
    listing = list_checkpoint(checkpoint, boundary=checkpoint.parent)
    return {name: listing.path(name).read_bytes() for name in listing}


@pytest.mark.parametrize("name", builders())
def test_a_checkpoint_of_any_layout_comes_back_as_it_was(name: str, tmp_path: Path) -> None:
    run, disk = tmp_path / "run", tmp_path / "disk"
    run.mkdir()
    disk.mkdir()
    checkpoint = builders()[name](run, 100)
    builders()[name](run, 200)
    run = checkpoint.parent  # Some trainers have a directory for each model.
    before, found = contents(checkpoint), verify(checkpoint, boundary=run)
    assert found.manifest is not None
    subject = Subject(checkpoint, found.manifest, found.step, "sound", 1, {}, policy=False)
    place = DirectoryDestination(disk, "run-1", hard_links=False)
    backup = back_up(subject, place, Pace()).backup
    assert {file.name for file in backup.files} == set(before)
    with pytest.raises(UsageError):
        restore(backup, place, run, Pace())
    if checkpoint.is_dir():
        shutil.rmtree(checkpoint)
    else:
        for each in before:
            (run / each).unlink()
    restored = restore(backup, place, run, Pace())
    assert restored.path == checkpoint
    assert contents(checkpoint) == before
    assert (restored.verification.layout, restored.verification.step) == (found.layout, found.step)
    assert restored.verification.verdict == found.verdict
    assert checkpoint.name in checkpoints_in(run)
    assert not (run / ".restoring").exists()
