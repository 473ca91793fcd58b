"""Checkpoints as verl writes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safetensors.numpy import save_file

from tests.checkpoints import weights_at, write_json
from tests.layouts.fsdp import WORLD, data_at, write_huggingface, write_shards
from tests.torch_files import write_torch_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TRACKER = "latest_checkpointed_iteration.txt"


def write_fsdp(run: Path, step: int, *, world: int = WORLD) -> Path:
    """Write actor and critic of an RL training with FSDP2."""
    checkpoint = run / f"global_step_{step}"
    write_model(checkpoint / "actor", step, world=world)
    write_model(checkpoint / "critic", step, world=world, seed=500)
    return _end(checkpoint, step)


def write_fsdp_export(run: Path, step: int) -> Path:
    """Write an actor with ``hf_model`` among its contents, which is LoRA."""
    checkpoint = run / f"global_step_{step}"
    write_model(checkpoint / "actor", step)
    save_file(weights_at(step), checkpoint / "actor/huggingface/model.safetensors")
    lora = {"r": 16, "lora_alpha": 32, "task_type": "CAUSAL_LM"}
    write_json(checkpoint / "actor/lora_train_meta.json", lora)
    return _end(checkpoint, step)


def write_sft(run: Path, step: int) -> Path:
    """Write a checkpoint of supervised fine-tuning, whose files lie at the top."""
    checkpoint = run / f"global_step_{step}"
    write_model(checkpoint, step)
    for rank in range(WORLD):
        write_torch_file(checkpoint / f"data_{rank}.pt", data_at(step))
    (run / TRACKER).write_text(str(step), encoding="utf-8")
    return checkpoint


def write_model(folder: Path, step: int, *, world: int = WORLD, seed: int = 0) -> None:
    """Write one model in the order of the checkpoint manager."""
    write_shards(folder, step, world=world, seed=seed)
    write_huggingface(folder / "huggingface")
    write_json(folder / "fsdp_config.json", {"FSDP_version": 2, "world_size": world})


def _end(checkpoint: Path, step: int) -> Path:
    write_torch_file(checkpoint / "data.pt", data_at(step))
    (checkpoint.parent / TRACKER).write_text(str(step), encoding="utf-8")
    return checkpoint


BUILDERS: dict[str, Callable[[Path, int], Path]] = {
    "verl-fsdp": write_fsdp,
    "verl-fsdp-export": write_fsdp_export,
    "verl-sft": write_sft,
}
