"""verl with FSDP: what a checkpoint needs, what it may lack, and what rotation leaves of it."""

from __future__ import annotations

import math
import os
import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest
from safetensors.numpy import save_file

from resume_daemon.findings import Verdict
from resume_daemon.formats.content import Format
from resume_daemon.formats.registry import read
from resume_daemon.layouts.registry import checkpoints_in
from tests.checkpoints import SHAPES, write_json
from tests.layouts.fsdp import dtensor
from tests.layouts.verl import BUILDERS, TRACKER, write_fsdp, write_model, write_sft
from tests.torch_files import write_torch_file
from tests.verifying import found, told, verified

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


FSDP = {name: build for name, build in BUILDERS.items() if "megatron" not in name}


@pytest.mark.parametrize("build", FSDP.values(), ids=FSDP)
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


@pytest.mark.parametrize("kind", ["optim", "extra_state"])
def test_a_set_that_the_run_saved_before_is_needed(tmp_path: Path, kind: str) -> None:
    before, checkpoint = write_fsdp(tmp_path, 10), write_fsdp(tmp_path, 20)
    for path in (checkpoint / "actor").glob(f"{kind}_*"):
        path.unlink()
    result = verified(checkpoint, before=before)
    assert result.verdict is Verdict.UNSOUND
    message = found(result, "RD414").message
    assert f"actor/{kind} of every rank is missing, global_step_10 has actor/{kind}_" in message


def test_fewer_ranks_than_before_lack_nothing(tmp_path: Path) -> None:
    before, checkpoint = write_fsdp(tmp_path, 10, world=4), write_fsdp(tmp_path, 20, world=2)
    assert told(verified(checkpoint, before=before)) == []


def test_a_critic_that_the_trainer_rotated_away_is_no_damage(tmp_path: Path) -> None:
    before, checkpoint = write_fsdp(tmp_path, 10), write_fsdp(tmp_path, 20)
    shutil.rmtree(checkpoint / "critic")
    assert told(verified(checkpoint, before=before)) == []


def test_what_rotation_leaves_lacks_nothing_that_the_checkpoint_before_has(
    tmp_path: Path,
) -> None:
    before, checkpoint = write_fsdp(tmp_path, 10), write_fsdp(tmp_path, 20)
    shutil.rmtree(checkpoint / "actor")
    assert told(verified(checkpoint, before=before)) == ["RD131 info"]


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


def test_each_model_has_shards_and_an_index_of_its_own(tmp_path: Path) -> None:
    checkpoint = write_fsdp(tmp_path, 10)
    for model, count in (("actor", 2), ("critic", 3)):
        export(checkpoint / model / "huggingface", count)
    assert told(verified(checkpoint)) == []
    last = "model-00003-of-00003.safetensors"
    save_file({f"{model}.{count}": WEIGHT}, checkpoint / "critic/huggingface" / last)
    assert told(verified(checkpoint)) == []
    save_file({"other": WEIGHT}, checkpoint / "critic/huggingface" / last)
    result = verified(checkpoint)
    assert told(result) == ["RD205 error", "RD205 error"]
    assert all((each.file or "").startswith("critic/") for each in result.findings)
    save_file({"other": WEIGHT}, checkpoint / "critic/huggingface/model-00001-of-00004.safetensors")
    assert "RD206 error" in told(verified(checkpoint))


WEIGHT = np.ones(4, np.float32)


def export(folder: Path, count: int) -> None:
    """Write a model in shards, whose tensors are called after the model and numbered."""
    model = folder.parent.name
    names = {n: f"model-{n:05d}-of-{count:05d}.safetensors" for n in range(1, count + 1)}
    for number, name in names.items():
        save_file({f"{model}.{number}": WEIGHT}, folder / name)
    index = {"weight_map": {f"{model}.{number}": name for number, name in names.items()}}
    write_json(folder / "model.safetensors.index.json", index)


def test_a_ranks_optimizer_that_holds_its_parameters_as_one_vector_fits_the_weights(
    tmp_path: Path,
) -> None:
    checkpoint = write_fsdp(tmp_path, 10)
    for rank in range(2):
        # FSDP1: the rank's share of all parameters in a row, padded to a multiple of the ranks.
        size = sum(math.prod(shape) for shape in SHAPES.values()) // 2 + 50
        moment = np.full(size, 0.5, np.float32)
        state = {0: {"step": np.array(40, np.float32), "exp_avg": moment, "exp_avg_sq": moment}}
        name = f"optim_world_size_2_rank_{rank}.pt"
        write_torch_file(checkpoint / "actor" / name, {"state": state, "param_groups": []})
    assert told(verified(checkpoint)) == []


def test_a_rank_without_a_piece_of_a_small_parameter_goes_with_the_others(
    tmp_path: Path,
) -> None:
    checkpoint = write_fsdp(tmp_path, 10)
    name = "critic/model_world_size_2_rank_1.pt"
    write_torch_file(checkpoint / name, pieces(list(SHAPES)[:-1]))
    assert told(verified(checkpoint)) == []
    write_torch_file(checkpoint / name, pieces(["another", *list(SHAPES)[:-1]]))
    assert told(verified(checkpoint)) == ["RD411 error"]


def pieces(names: list[str]) -> dict[str, object]:
    """Return a rank's pieces of some parameters."""
    random = np.random.default_rng(0)
    return {name: dtensor(random.random((96, 64), np.float32), 1) for name in names}


def test_a_piece_of_a_parameter_is_called_as_the_parameter_is(tmp_path: Path) -> None:
    checkpoint = write_fsdp(tmp_path, 10)
    content = read(checkpoint / "actor/model_world_size_2_rank_1.pt", Format.TORCH)
    assert dict(content.shapes) == {
        name: (shape[0] // 2, *shape[1:]) for name, shape in SHAPES.items()
    }
    optimizer = read(checkpoint / "actor/optim_world_size_2_rank_1.pt", Format.TORCH)
    assert optimizer.shapes["state.0.exp_avg"] == (48, 64)


def test_a_rank_whose_schedule_stands_elsewhere_is_of_another_save(tmp_path: Path) -> None:
    first, second = write_fsdp(tmp_path, 10), write_fsdp(tmp_path, 20)
    name = "actor/extra_state_world_size_2_rank_1.pt"
    shutil.copy2(first / name, second / name)
    assert told(verified(second)) == ["RD411 error"]
