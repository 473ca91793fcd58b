from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tests.checkpoints import write_json
from tests.moving import STEPS, trained, write_run
from tests.verifying import found, told, verified

if TYPE_CHECKING:
    from pathlib import Path

    from tests.checkpoints import Weights

PROJECTION = "model.layers.1.mlp.down_proj.weight"


def codes(checkpoints: list[Path]) -> list[str]:
    now, before, earlier = checkpoints
    return told(verified(now, before=before, earlier=earlier))


def stopped(*names: str, rate: float = 1e-4) -> dict[int, Weights]:
    """Return the weights of each step, of which some stop after the second one."""
    weights = {step: trained(step, rate) for step in STEPS}
    for name in names:
        weights[STEPS[2]][name] = weights[STEPS[1]][name]
    return weights


def split(checkpoint: Path) -> list[Path]:
    """Turn the weights into two shards with an index."""
    weights = load_file(checkpoint / "model.safetensors")
    (checkpoint / "model.safetensors").unlink()
    names = sorted(weights)
    files = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    weight_map: dict[str, str] = {}
    for number, file in enumerate(files):
        own = names[number::2]
        save_file({name: weights[name] for name in own}, checkpoint / file)
        weight_map |= dict.fromkeys(own, file)
    write_json(checkpoint / "model.safetensors.index.json", {"weight_map": weight_map})
    return [checkpoint / file for file in files]


def test_a_layer_that_stops_while_its_siblings_move_on_is_told(tmp_path: Path) -> None:
    now, before, earlier = write_run(tmp_path, stopped(PROJECTION).__getitem__)
    verification = verified(now, before=before, earlier=earlier)

    assert told(verification) == ["RD219 warning"]
    assert f"{PROJECTION} is as in checkpoint-10" in found(verification, "RD219").message
    assert told(verified(now, before=before)) == []


def test_most_layers_may_rest_while_others_are_trained(tmp_path: Path) -> None:
    names = [name for name in trained(0) if ".0." not in name]

    assert codes(write_run(tmp_path, stopped(*names).__getitem__)) == []


@pytest.mark.parametrize("dtype", ["BF16", "F16", "F32"])
def test_what_never_moved_is_frozen(tmp_path: Path, dtype: str) -> None:
    def at(step: int) -> Weights:
        return trained(step, 1e-4) | {PROJECTION: trained(0)[PROJECTION]}

    assert codes(write_run(tmp_path, at, dtype)) == []


def test_small_steps_that_bfloat16_rounds_away_are_no_standstill(tmp_path: Path) -> None:
    def at(step: int) -> Weights:
        # A few values of one matrix move, and then do not.
        weights = trained(step, 1e-6)
        moved = weights[PROJECTION].reshape(-1)[::501]
        moved += np.float32(2e-4 if step >= STEPS[1] else 0)
        return weights

    assert codes(write_run(tmp_path, at, "BF16")) == []


@pytest.mark.parametrize("name", ["model.layers.1.mlp.experts.3.w1.weight", "a.lora_A.weight"])
def test_experts_and_adapters_that_are_not_in_use_rest(tmp_path: Path, name: str) -> None:
    def at(step: int) -> Weights:
        matrix = np.random.default_rng(3).standard_normal((64, 64)) * 0.02
        return trained(step, 1e-4) | {
            name: (matrix + 1e-3 * min(step, 10)).astype(np.float32),
            name.replace("3", "4").replace("a.", "b."): (matrix + 1e-3 * step).astype(np.float32),
        }

    assert codes(write_run(tmp_path, at)) == []


def test_a_whole_file_of_the_step_before_is_told_once(tmp_path: Path) -> None:
    checkpoints = write_run(tmp_path, lambda step: trained(step, 1e-4))
    shards = [split(checkpoint) for checkpoint in checkpoints]
    assert codes(checkpoints) == []

    shutil.copy(shards[1][0], shards[0][0])
    assert codes(checkpoints) == ["RD413 error"]

    shutil.copy(shards[1][1], shards[0][1])
    assert codes(checkpoints)[-1] == "RD216 warning"


def test_a_file_that_comes_back_from_two_checkpoints_ago_is_told(tmp_path: Path) -> None:
    checkpoints = write_run(tmp_path, lambda step: trained(step, 1e-4))
    shards = [split(checkpoint) for checkpoint in checkpoints]
    shutil.copy(shards[2][0], shards[0][0])

    assert codes(checkpoints)[0] == "RD413 error"


def test_a_shard_of_frozen_weights_alone_is_fine(tmp_path: Path) -> None:
    checkpoints = write_run(tmp_path, lambda step: trained(step, 1e-4))
    shards = [split(checkpoint) for checkpoint in checkpoints]
    for each in shards[:2]:
        shutil.copy(shards[2][0], each[0])

    assert codes(checkpoints) == []
