"""Files that went back to what they were before the checkpoint before."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from safetensors.numpy import load_file, save_file

from resume_daemon.verification import References, verify
from tests.checkpoints import weights_at
from tests.layouts import builders
from tests.layouts.huggingface import write_sharded
from tests.layouts.verl import write_fsdp
from tests.verifying import found, manifest_of, told, verified

if TYPE_CHECKING:
    from pathlib import Path

SHARD = "model-00002-of-00003.safetensors"
STEPS = (10, 20, 30, 40)


@pytest.fixture
def run(tmp_path: Path) -> list[Path]:
    """Return four checkpoints, the newest first, whose weights are shards without a step."""
    return [write_sharded(tmp_path, step) for step in reversed(STEPS)]


@pytest.mark.parametrize("age", [2, 3])
def test_a_file_of_an_older_step_is_told_with_its_step(run: list[Path], age: int) -> None:
    now, before, earlier, oldest = run
    shutil.copy2(run[age] / SHARD, now / SHARD)

    verification = verified(now, before=before, earlier=earlier, older=(oldest,))

    assert told(verification) == ["RD413 error"]
    assert found(verification, "RD413").message == f"{SHARD} is that of {run[age].name}"


def test_a_rank_s_file_of_an_older_step_is_told(tmp_path: Path) -> None:
    oldest, earlier, before, now = [write_fsdp(tmp_path, step) for step in STEPS]
    name = "critic/model_world_size_2_rank_1.pt"
    shutil.copy2(oldest / name, now / name)

    assert told(verified(now, before=before, earlier=earlier, older=(oldest,))) == ["RD413 error"]


def test_what_is_frozen_is_in_every_checkpoint_and_no_old_file(run: list[Path]) -> None:
    for checkpoint in run[:-1]:
        shutil.copy2(run[-1] / SHARD, checkpoint / SHARD)
    now, before, earlier, oldest = run

    assert told(verified(now, before=before, earlier=earlier, older=(oldest,))) == []


def test_what_is_frozen_from_some_step_on_is_no_old_file(run: list[Path]) -> None:
    now, before, earlier, oldest = run
    shutil.copy2(earlier / SHARD, before / SHARD)
    shutil.copy2(earlier / SHARD, now / SHARD)

    assert "RD413 error" not in told(
        verified(now, before=before, earlier=before, older=(earlier, oldest))
    )


def test_few_values_may_come_back_to_what_they_were(run: list[Path]) -> None:
    for checkpoint, seed in zip(run, (1, 2, 1, 3), strict=True):
        few = {name: weights_at(seed)[name][:1] for name in load_file(checkpoint / SHARD)}
        save_file(few, checkpoint / SHARD)
    now, before, earlier, oldest = run

    assert "RD413 error" not in told(verified(now, before=before, earlier=earlier, older=(oldest,)))


def test_no_more_than_eight_manifests_are_compared_with(tmp_path: Path) -> None:
    manifest = manifest_of(builders()["huggingface"](tmp_path, 10))

    references = References.after([manifest] * 50, None)

    assert len(references.older) == 6


def test_a_whole_state_that_was_set_back_is_not_called_an_old_file(run: list[Path]) -> None:
    now, before, earlier, oldest = run
    for file in (*oldest.glob("*.safetensors"), oldest / "optimizer.pt"):
        shutil.copy2(file, now / file.name)

    references = References.after([manifest_of(each) for each in (before, earlier, oldest)], None)
    verification = verify(now, boundary=now.parent, references=references)

    assert "RD413 error" not in told(verification)
