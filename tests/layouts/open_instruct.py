"""Checkpoints as open-instruct's supervised fine-tuning and DPO write them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from safetensors.numpy import save_file

from tests.checkpoints import SHAPES, optimizer_at, weights_at
from tests.layouts.fsdp import WORLD
from tests.torch_files import write_torch_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def write_step(run: Path, step: int) -> Path:
    """Write ``step_N``, of two processes that hold the model whole."""
    return _write(run / f"step_{step}", step)


def write_epoch(run: Path, step: int) -> Path:
    """Write ``epoch_N``, of epochs of seven steps."""
    return _write(run / f"epoch_{step}", 7 * step)


def write_deepspeed(run: Path, step: int) -> Path:
    """Write ``step_N`` with DeepSpeed of stage 3: each rank has its piece of everything."""
    checkpoint = run / f"step_{step}"
    engine = checkpoint / "pytorch_model"
    engine.mkdir(parents=True)
    flat = np.concatenate([array.ravel() for array in weights_at(step).values()])
    for rank, piece in enumerate(np.array_split(flat, WORLD)):
        suffix = f"zero_pp_rank_{rank}_mp_rank_00"
        model = {
            "module": {},
            "param_shapes": [dict(SHAPES)],
            "global_steps": step,
            "skipped_steps": 0,
            "dp_world_size": WORLD,
            "mp_world_size": 1,
        }
        write_torch_file(engine / f"{suffix}_model_states.pt", model)
        moments = {"step": step, "exp_avg": piece * 0.1, "exp_avg_sq": piece * piece}
        optimizer = {
            "zero_stage": 3,
            "partition_count": WORLD,
            "fp32_flat_groups": [piece],
            "optimizer_state_dict": {"state": {0: moments}, "param_groups": [{"lr": 1e-5}]},
        }
        states = {"optimizer_state_dict": optimizer, "ds_version": "0.18.2"}
        write_torch_file(engine / f"bf16_{suffix}_optim_states.pt", states)
    (checkpoint / "latest").write_text("pytorch_model", encoding="utf-8")
    (checkpoint / "zero_to_fp32.py").write_text("# DeepSpeed's own\n", encoding="utf-8")
    write_torch_file(checkpoint / "scheduler.bin", _schedule(step))
    return _end(checkpoint, step)


def _write(checkpoint: Path, step: int) -> Path:
    checkpoint.mkdir(parents=True)
    save_file(weights_at(step), checkpoint / "model.safetensors")
    write_torch_file(checkpoint / "optimizer.bin", optimizer_at(step))
    write_torch_file(checkpoint / "scheduler.bin", _schedule(step))
    write_torch_file(checkpoint / "sampler.bin", {"epoch": 0, "seed": step})
    return _end(checkpoint, step)


def _schedule(step: int) -> dict[str, object]:
    # accelerate makes as many steps of the schedule as there are processes.
    return {"base_lrs": [1e-5], "last_epoch": WORLD * step, "_step_count": WORLD * step + 1}


def _end(checkpoint: Path, step: int) -> Path:
    for rank in range(WORLD):
        rng = {"step": 2 * step, "random_state": (3, (rank, step), None)}
        rng["torch_manual_seed"] = np.arange(5056, dtype=np.uint8)
        write_torch_file(checkpoint / f"random_states_{rank}.pkl", rng)
    (checkpoint / "COMPLETED").write_text("COMPLETED", encoding="utf-8")
    return checkpoint


BUILDERS: dict[str, Callable[[Path, int], Path]] = {
    "open-instruct": write_step,
    "open-instruct-epochs": write_epoch,
    "open-instruct-deepspeed": write_deepspeed,
}
