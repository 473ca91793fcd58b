"""NeMo-RL: published by a rename, so that what is missing will not come."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from resume_daemon.findings import Verdict
from resume_daemon.formats.content import Content
from resume_daemon.layouts.nemo_rl import NemoRl
from resume_daemon.layouts.registry import checkpoints_in
from tests.layouts.megatron_dist import write_dist
from tests.layouts.nemo_rl import BUILDERS, write_automodel, write_dtensor, write_megatron
from tests.verifying import told, verified

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.mark.parametrize("build", BUILDERS.values(), ids=BUILDERS)
def test_a_healthy_checkpoint_is_sound_alone_and_after_another(
    tmp_path: Path, build: Callable[[Path, int], Path]
) -> None:
    first, second = build(tmp_path, 10), build(tmp_path, 20)
    for result in (verified(first), verified(second, before=first)):
        assert (result.layout, result.verdict, told(result)) == ("nemo-rl", Verdict.SOUND, [])


@pytest.mark.parametrize(
    ("build", "gone"),
    [
        (write_dtensor, "training_info.json"),
        (write_dtensor, "train_dataloader.pt"),
        (write_dtensor, "policy/weights/.metadata"),
        (write_dtensor, "value/weights/__1_0.distcp"),
        (write_dtensor, "policy/optimizer/__0_0.distcp"),
        (write_automodel, "policy/optimizer/optim/.metadata"),
        (write_megatron, "policy/weights/iter_0000000/metadata.json"),
        (write_megatron, "policy/weights/iter_0000000/__1_0.distcp"),
    ],
)
def test_what_a_resume_loads_is_missed_at_once(
    tmp_path: Path, build: Callable[[Path, int], Path], gone: str
) -> None:
    checkpoint = build(tmp_path, 10)
    (checkpoint / gone).unlink()
    result = verified(checkpoint)
    assert (result.verdict, told(result)) == (Verdict.UNSOUND, ["RD116 error"])


def test_a_ranks_piece_of_the_model_is_missed(tmp_path: Path) -> None:
    checkpoint = write_automodel(tmp_path, 10)
    folder = checkpoint / "policy/weights/model"
    (folder / "shard-00001-model-00001-of-00001.safetensors").unlink()
    assert "RD101 error" in told(verified(checkpoint))


def test_a_file_of_the_model_that_no_rank_has_a_piece_of_is_missed(tmp_path: Path) -> None:
    checkpoint = write_automodel(tmp_path, 10)
    for path in list((checkpoint / "policy/weights/model").glob("shard-*")):
        path.rename(path.with_name(path.name.replace("of-00001", "of-00002")))
    assert told(verified(checkpoint)) == ["RD101 error"]


def test_without_any_weights_there_is_nothing_to_resume_from(tmp_path: Path) -> None:
    checkpoint = write_dtensor(tmp_path, 10)
    shutil.rmtree(checkpoint / "policy/weights")
    assert verified(checkpoint).verdict is Verdict.UNSOUND


def test_an_optimizer_that_was_not_saved_starts_afresh(tmp_path: Path) -> None:
    checkpoint = write_dtensor(tmp_path, 10)
    shutil.rmtree(checkpoint / "value/optimizer")
    assert told(verified(checkpoint)) == ["RD104 warning"]


def test_the_names_before_the_rename_are_no_checkpoints(tmp_path: Path) -> None:
    write_dtensor(tmp_path, 10).rename(tmp_path / "old_step_10")
    write_dtensor(tmp_path, 20).rename(tmp_path / "tmp_step_20")
    write_dtensor(tmp_path, 30)
    (tmp_path / "step_40").mkdir()  # Of something else: the name alone says nothing.
    assert checkpoints_in(tmp_path) == ["step_30"]


@pytest.mark.parametrize("text", ["[1]", "3", "null"])
def test_a_record_that_is_no_object_is_unsound(tmp_path: Path, text: str) -> None:
    checkpoint = write_dtensor(tmp_path, 10)
    (checkpoint / "training_info.json").write_text(text, encoding="utf-8")
    assert told(verified(checkpoint)) == ["RD116 error"]


@pytest.mark.parametrize(
    ("info", "steps"),
    [
        ({"total_steps": 30, "current_step": 2}, [30]),  # The second epoch.
        ({"total_steps": 0, "current_step": 30}, [30]),  # Asynchronous GRPO.
        ({"total_steps": 30, "step": 2}, [30]),  # Supervised fine-tuning, DPO.
        ({"step": 2}, []),
        ({"total_steps": "30"}, []),
        ([30], []),
    ],
)
def test_the_record_says_the_step_where_it_counts_over_epochs(
    info: object, steps: list[int]
) -> None:
    found = NemoRl().recorded_steps({"training_info.json": Content(value=info)})
    assert [step for _, step in found] == steps


def test_ranks_pieces_are_no_shards_whose_number_the_names_promise(tmp_path: Path) -> None:
    checkpoint = write_automodel(tmp_path, 10)  # Two files that each say one of one.
    assert told(verified(checkpoint)) == []


def test_megatrons_one_state_without_an_optimizer_starts_it_afresh(tmp_path: Path) -> None:
    checkpoint = write_megatron(tmp_path, 10)
    shutil.rmtree(checkpoint / "policy/weights/iter_0000000")
    write_dist(checkpoint / "policy/weights/iter_0000000", 10, frozenset({"model"}))
    assert told(verified(checkpoint)) == ["RD104 warning"]
