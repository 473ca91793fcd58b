"""Checkpoints of the DeepSpeed engine on two ranks, as deepspeed 0.19 was seen to write them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tests.checkpoints import SHAPES, optimizer_at, weights_at, write_checkpoint
from tests.torch_files import Global, Instance, write_torch_file

if TYPE_CHECKING:
    from pathlib import Path

RANKS = 2


def model_states(step: int, stage: int, module: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return what ``mp_rank_00_model_states.pt`` holds beside the module."""
    return {
        "module": module,
        "buffer_names": [],
        "optimizer": None if stage else optimizer_at(step),
        "param_shapes": [dict(SHAPES)] if stage else None,
        "lr_scheduler": {"last_batch_iteration": step - 1},
        "skipped_steps": 0,
        "global_steps": step,
        "global_samples": 8 * step,
        "dp_world_size": RANKS,
        "mp_world_size": 1,
        "ds_config": {"zero_optimization": {"stage": stage}},
        "ds_version": "0.19.8",
        **more,
    }


def optimizer_states(step: int, rank: int, stage: int) -> dict[str, Any]:
    """Return what a rank's ``..._optim_states.pt`` holds: flat groups of its partition."""
    size = sum(int(np.prod(shape)) for shape in SHAPES.values()) // RANKS
    random = np.random.default_rng(step * RANKS + rank)
    flat = {
        "step": np.array(step, np.float32),
        "exp_avg": random.standard_normal(size).astype(np.float32),
        "exp_avg_sq": random.random(size).astype(np.float32),
    }
    groups = random.standard_normal(size).astype(np.float32)
    inner = {"state": {0: flat}, "param_groups": [{"lr": 1e-3, "params": [0]}]}
    scaler = Instance(Global("deepspeed.runtime.fp16.loss_scaler", "LossScaler"), cur_scale=1.0)
    kept = "optimizer_state_dict" if stage == 3 else "base_optimizer_state"
    master = "fp32_flat_groups" if stage == 3 else "single_partition_of_fp32_groups"
    return {
        "optimizer_state_dict": {"loss_scaler": scaler, kept: inner, master: [groups]},
        "ds_config": {"zero_optimization": {"stage": stage}},
        "ds_version": "0.19.8",
    }


def write_tag(folder: Path, step: int, stage: int, **more: Any) -> None:
    """Write the files of a tag into a directory."""
    folder.mkdir(parents=True, exist_ok=True)
    if stage == 3:
        for rank in range(RANKS):
            module = {name: np.zeros(0, np.float32) for name in SHAPES}
            states = model_states(step, stage, module, **more)
            write_torch_file(folder / f"zero_pp_rank_{rank}_mp_rank_00_model_states.pt", states)
    else:
        states = model_states(step, stage, dict(weights_at(step)), **more)
        write_torch_file(folder / "mp_rank_00_model_states.pt", states)
    for rank in range(RANKS if stage else 0):
        name = f"{'bf16_' if stage == 2 else ''}zero_pp_rank_{rank}_mp_rank_00_optim_states.pt"
        write_torch_file(folder / name, optimizer_states(step, rank, stage))


def _write(run: Path, step: int, stage: int, **more: Any) -> Path:
    checkpoint = run / f"global_step{step}"
    write_tag(checkpoint, step, stage, **more)
    (run / "zero_to_fp32.py").write_text("# DeepSpeed's own script\n")
    (run / "latest").write_text(checkpoint.name)
    return checkpoint


def write_plain(run: Path, step: int) -> Path:
    """Write a checkpoint without ZeRO: the optimizer lies beside the module."""
    return _write(run, step, 0)


def write_zero1(run: Path, step: int) -> Path:
    """Write one of ZeRO-1: the optimizer in a file of each rank."""
    return _write(run, step, 1)


def write_zero2(run: Path, step: int) -> Path:
    """Write one of ZeRO-2 in bfloat16, which says so in the names."""
    return _write(run, step, 2)


def write_zero3(run: Path, step: int) -> Path:
    """Write one of ZeRO-3: model states of each rank, the values in the optimizer's."""
    return _write(run, step, 3)


def write_experts(run: Path, step: int) -> Path:
    """Write one of a mixture of two experts on two ranks."""
    checkpoint = _write(run, step, 1, num_experts=[2])
    for expert in range(2):
        weights = {
            f"moe.expert_{expert}.{name}": array
            for name, array in weights_at(step + 100 + expert).items()
        }
        name = f"layer_0_expert_{expert}_mp_rank_00_model_states.pt"
        write_torch_file(checkpoint / name, weights)
        state = {"optimizer": optimizer_at(step)}
        write_torch_file(checkpoint / f"expp_rank_{expert}_mp_rank_00_optim_states.pt", state)
    return checkpoint


def write_inside_huggingface(run: Path, step: int) -> Path:
    """Write ``checkpoint-N`` of a Hugging Face trainer with ZeRO-3, weights gathered as well."""
    checkpoint = write_checkpoint(run, step)
    (checkpoint / "optimizer.pt").unlink()
    (checkpoint / "scheduler.pt").unlink()
    write_tag(checkpoint / f"global_step{step}", step, 3)
    (checkpoint / "latest").write_text(f"global_step{step}")
    (checkpoint / "zero_to_fp32.py").write_text("# DeepSpeed's own script\n")
    return checkpoint


BUILDERS = {
    "deepspeed": write_plain,
    "deepspeed-zero1": write_zero1,
    "deepspeed-zero2": write_zero2,
    "deepspeed-zero3": write_zero3,
    "deepspeed-moe": write_experts,
    "huggingface-deepspeed": write_inside_huggingface,
}
