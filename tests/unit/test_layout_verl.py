"""verl with FSDP: what a checkpoint needs, what it may lack, and what rotation leaves of it."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest

from resume_daemon.findings import Verdict
from resume_daemon.layouts.registry import checkpoints_in
from tests.checkpoints import write_json
from tests.layouts.verl import BUILDERS, TRACKER, write_fsdp, write_model, write_sft
from tests.verifying import found, told, verified

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.mark.parametrize("build", BUILDERS.values(), ids=BUILDERS)
def test_a_healthy_checkpoint_is_sound_alone_and_after_another(
    tmp_path: Path, build: Callable[[Path, int], Path]
) -> None:
    first, second = build(tmp_path, 10), build(tmp_path, 20)
    for result in (verified(first), verified(second, before=first)):
        assert (result.layout, result.verdict, told(result)) == ("verl", Verdict.SOUND, [])
    assert verified(second).step == 20
    assert checkpoints_in(tmp_path) == ["global_step_10", "global_step_20"]


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("actor/model_world_size_2_rank_1.pt", "RD101"),
        ("actor/optim_world_size_2_rank_0.pt", "RD116"),
        ("critic/model_world_size_2_rank_0.pt", "RD101"),
        ("critic/extra_state_world_size_2_rank_1.pt", "RD116"),
    ],
)
def test_a_rank_that_is_missing_from_a_set_is_unsound(tmp_path: Path, name: str, code: str) -> None:
    checkpoint = write_fsdp(tmp_path, 10)
    (checkpoint / name).unlink()
    result = verified(checkpoint)
    assert (result.verdict, told(result)) == (Verdict.UNSOUND, [f"{code} error"])


def test_the_missing_rank_is_named_with_its_model(tmp_path: Path) -> None:
    checkpoint = write_fsdp(tmp_path, 10)
    (checkpoint / "critic/model_world_size_2_rank_1.pt").unlink()
    message = found(verified(checkpoint), "RD101").message
    assert "critic/model of rank 1 (1 of 2;" in message


def test_a_set_that_no_rank_saved_was_left_out_and_is_lost(tmp_path: Path) -> None:
    checkpoint = write_fsdp(tmp_path, 10)
    for path in (checkpoint / "actor").glob("optim_*"):
        path.unlink()
    for path in (checkpoint / "critic").glob("extra_state_*"):
        path.unlink()
    result = verified(checkpoint)
    assert result.verdict is Verdict.DEGRADED
    assert told(result) == ["RD104 warning", "RD105 warning", "RD106 warning"]


def test_the_last_rank_of_all_sets_is_missed_because_the_names_say_how_many(
    tmp_path: Path,
) -> None:
    checkpoint = write_fsdp(tmp_path, 10)
    for path in checkpoint.glob("*/*_rank_1.pt"):
        path.unlink()
    assert verified(checkpoint).verdict is Verdict.UNSOUND


def test_ranks_of_an_earlier_run_with_another_world_size_do_not_count(tmp_path: Path) -> None:
    checkpoint = write_fsdp(tmp_path, 10, world=4)
    write_fsdp(tmp_path, 10)
    assert verified(checkpoint).verdict is Verdict.SOUND
    (checkpoint / "actor/model_world_size_4_rank_3.pt").unlink()
    assert verified(checkpoint).verdict is Verdict.SOUND
    (checkpoint / "actor/model_world_size_2_rank_1.pt").unlink()
    assert verified(checkpoint).verdict is Verdict.UNSOUND


def test_without_a_configuration_of_fsdp_the_names_say_how_many_ranks_there_were(
    tmp_path: Path,
) -> None:
    checkpoint = write_fsdp(tmp_path, 10)
    for path in checkpoint.glob("*/fsdp_config.json"):
        path.unlink()
    assert verified(checkpoint).verdict is Verdict.SOUND
    (checkpoint / "actor/model_world_size_2_rank_1.pt").unlink()
    assert verified(checkpoint).verdict is Verdict.UNSOUND


@pytest.mark.parametrize("document", [{}, {"world_size": "2"}, [2]])
def test_a_configuration_of_fsdp_that_says_nothing_is_a_warning(
    tmp_path: Path, document: object
) -> None:
    checkpoint = write_fsdp(tmp_path, 10)
    write_json(checkpoint / "actor/fsdp_config.json", document)
    assert told(verified(checkpoint)) == ["RD118 warning"]


def test_without_the_position_in_the_data_the_data_starts_again(tmp_path: Path) -> None:
    checkpoint = write_fsdp(tmp_path, 10)
    (checkpoint / "data.pt").unlink()
    assert told(verified(checkpoint)) == ["RD117 warning"]


def test_in_fine_tuning_each_rank_has_its_own_position_in_the_data(tmp_path: Path) -> None:
    checkpoint = write_sft(tmp_path, 10)
    (checkpoint / "data_0.pt").unlink()
    result = verified(checkpoint)
    assert told(result) == ["RD117 warning"]
    assert "data of rank 0" in found(result, "RD117").message


def test_an_actor_that_is_not_there_is_missed_though_a_critic_is(tmp_path: Path) -> None:
    checkpoint = write_fsdp(tmp_path, 10)
    shutil.rmtree(checkpoint / "actor")
    (checkpoint / "data.pt").unlink()
    (tmp_path / TRACKER).unlink()
    assert verified(checkpoint).verdict is Verdict.INCOMPLETE


def test_a_save_that_is_going_on_is_incomplete_until_the_tracker_names_it(
    tmp_path: Path,
) -> None:
    write_fsdp(tmp_path, 10)
    tracker = tmp_path / TRACKER
    os.utime(tracker, (1, 1))
    later = tmp_path / "global_step_20"
    write_model(later / "actor", 20)
    result = verified(later)
    assert result.verdict is Verdict.INCOMPLETE
    assert "names 10" in found(result, "RD103").message
    tracker.write_text("20", encoding="utf-8")
    assert told(verified(later)) == ["RD117 warning"]


def test_a_tracker_set_back_by_hand_leaves_later_checkpoints_sound(tmp_path: Path) -> None:
    write_fsdp(tmp_path, 10)
    later = write_fsdp(tmp_path, 20)
    (tmp_path / TRACKER).write_text("10", encoding="utf-8")
    assert verified(later).verdict is Verdict.SOUND


@pytest.mark.parametrize("text", ["", "2"])
def test_a_damaged_tracker_takes_nothing_from_the_checkpoint(tmp_path: Path, text: str) -> None:
    checkpoint = write_fsdp(tmp_path, 20)
    (tmp_path / TRACKER).write_text(text, encoding="utf-8")
    assert verified(checkpoint).verdict is Verdict.SOUND


@pytest.mark.parametrize("critic", [True, False])
def test_what_rotation_leaves_is_told_as_such_and_not_as_damage(
    tmp_path: Path, *, critic: bool
) -> None:
    checkpoint = write_fsdp(tmp_path, 10)
    write_fsdp(tmp_path, 20)
    shutil.rmtree(checkpoint / "actor")
    if not critic:
        shutil.rmtree(checkpoint / "critic")
    result = verified(checkpoint)
    assert (result.layout, result.verdict) == ("verl", Verdict.INCOMPLETE)
    assert told(result) == ["RD131 info"]
    assert "rotated" in found(result, "RD131").message


def test_a_counter_of_several_optimizer_steps_for_each_of_the_trainers_is_no_defect(
    tmp_path: Path,
) -> None:
    checkpoint = write_fsdp(tmp_path, 10)  # The builder's optimizer has counted 40.
    assert told(verified(checkpoint)) == []


def test_shards_are_missed_from_an_exported_model_that_a_resume_does_not_read(
    tmp_path: Path,
) -> None:
    checkpoint = write_fsdp(tmp_path, 10)
    index = {"weight_map": {"lm_head.weight": "model-00001-of-00001.safetensors"}}
    write_json(checkpoint / "actor/huggingface/model.safetensors.index.json", index)
    assert told(verified(checkpoint)) == ["RD118 warning"]


def test_a_damaged_copy_of_the_models_configuration_does_not_stop_a_resume(
    tmp_path: Path,
) -> None:
    checkpoint = write_fsdp(tmp_path, 10)
    (checkpoint / "actor/huggingface/config.json").write_bytes(b"")
    assert told(verified(checkpoint)) == ["RD121 warning"]
