"""Checkpoints as verl writes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safetensors.numpy import save_file

from tests.checkpoints import weights_at, write_json
from tests.layouts.fsdp import WORLD, data_at, write_huggingface, write_shards
from tests.layouts.megatron_dist import write_dist
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


def write_megatron(run: Path, step: int) -> Path:
    """Write actor and critic of an RL training with Megatron: the actor with an export beside."""
    checkpoint = run / f"global_step_{step}"
    for seed, model in enumerate(("actor", "critic")):
        folder = checkpoint / model
        write_dist(folder / "model/dist_ckpt", step, frozenset({"model"}), seed=500 * seed)
        write_dist(folder / "optimizer/dist_ckpt", step, frozenset({"optimizer"}))
        write_dist(folder / "extra/dist_ckpt", step, frozenset({"extra"}))
        contents: dict[str, dict[str, str]] = {
            key: {"path": path, "format": "megatron_dist_checkpoint"}
            for key, path in (
                ("model", "model/dist_ckpt"),
                ("optimizer", "optimizer/dist_ckpt"),
                ("lr_scheduler", "optimizer/dist_ckpt"),
                ("rng_state", "extra/dist_ckpt"),
            )
        }
        if model == "actor":
            write_huggingface(folder / "model/huggingface")
            save_file(weights_at(step), folder / "model/huggingface/model.safetensors")
            contents["hf_model"] = {"path": "model/huggingface", "format": "huggingface"}
        write_json(folder / "transformer_config.json", {"num_layers": 3})
        contents["transformer_config"] = {"path": "transformer_config.json", "format": "json"}
        manifest = {
            "schema_version": 2,
            "framework": "megatron",
            "role": model,
            "global_step": step,
            "world_size": WORLD,
            "save_contents": ["model", "optimizer", "extra"],
            "contents": contents,
        }
        write_json(folder / "ckpt_contents.json", manifest)
    return _end(checkpoint, step)


def write_megatron_flat(run: Path, step: int) -> Path:
    """Write an actor as verl did with Megatron until 0.8: one directory, and no manifest."""
    checkpoint = run / f"global_step_{step}"
    write_dist(checkpoint / "actor/dist_ckpt", step, common=True)
    write_huggingface(checkpoint / "actor/huggingface")
    write_json(checkpoint / "actor/transformer_config.json", {"num_layers": 3})
    return _end(checkpoint, step)


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
    "verl-megatron": write_megatron,
    "verl-megatron-flat": write_megatron_flat,
}
