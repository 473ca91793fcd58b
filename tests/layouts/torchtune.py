"""Checkpoints of torchtune: of full fine-tuning, of LoRA, and asynchronous ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.numpy import save_file

from tests.checkpoints import SHAPES, adapter_at, optimizer_at, weights_at, write_json
from tests.layouts.dcp import write_dcp
from tests.torch_files import write_torch_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def write_full(run: Path, step: int) -> Path:
    """Write ``step_N`` of full fine-tuning, in two shards."""
    checkpoint = run / f"step_{step}"
    _write_model(checkpoint, step)
    write_torch_file(checkpoint / "recipe_state.pt", _recipe_state(step))
    return checkpoint


def write_lora(run: Path, step: int) -> Path:
    """Write ``epoch_N`` of LoRA: merged weights, and the adapter in both of its forms."""
    checkpoint = run / f"epoch_{step}"
    _write_model(checkpoint, step)
    adapter = adapter_at(step)
    write_torch_file(checkpoint / "adapter_model.pt", adapter)
    save_file(adapter, checkpoint / "adapter_model.safetensors")
    write_json(checkpoint / "adapter_config.json", {"peft_type": "LORA", "r": 16})
    write_torch_file(checkpoint / "recipe_state.pt", _recipe_state(step))
    return checkpoint


def write_last(run: Path, step: int) -> Path:
    """Write ``epoch_N`` after the last epoch, which has no state of the recipe."""
    checkpoint = run / f"epoch_{step}"
    _write_model(checkpoint, step)
    return checkpoint


def write_async(run: Path, step: int) -> Path:
    """Write ``epoch_N`` asynchronously: everything in one DCP directory."""
    checkpoint = run / f"epoch_{step}"
    tensors = {f"model.{name}": array for name, array in weights_at(step).items()}
    moments = optimizer_at(step)["state"]
    for number, name in enumerate(SHAPES):
        for kind, array in moments[number].items():
            tensors[f"optimizer.state.{name}.{kind}"] = array
    write_dcp(checkpoint, tensors, {"epochs_run": step, "seed": 1, "total_epochs": 100})
    return checkpoint


def _write_model(checkpoint: Path, step: int) -> None:
    checkpoint.mkdir(parents=True)
    weights = weights_at(step)
    names = sorted(weights)
    weight_map: dict[str, str] = {}
    for number in range(2):
        shard = f"model-{number + 1:05d}-of-00002.safetensors"
        save_file({name: weights[name] for name in names[number::2]}, checkpoint / shard)
        weight_map |= dict.fromkeys(names[number::2], shard)
    index = {"metadata": {"total_size": 1}, "weight_map": weight_map}
    write_json(checkpoint / "model.safetensors.index.json", index)
    write_json(checkpoint / "config.json", {"model_type": "qwen2"})
    write_json(checkpoint / "original_repo_id.json", {"repo_id": "Qwen/Qwen2.5-0.5B"})


def _recipe_state(step: int) -> dict[str, Any]:
    return {
        "optimizer": optimizer_at(step),
        "seed": 1,
        "epochs_run": step,
        "total_epochs": 100,
        "max_steps_per_epoch": None,
        "dataloader": {"position": 8 * step, "rng": np.arange(256, dtype=np.uint8)},
    }


BUILDERS: dict[str, Callable[[Path, int], Path]] = {
    "torchtune": write_full,
    "torchtune-lora": write_lora,
    "torchtune-last": write_last,
    "torchtune-async": write_async,
}
