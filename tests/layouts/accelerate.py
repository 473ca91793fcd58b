"""Checkpoints of accelerate's ``save_state``, of two processes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.numpy import save_file

from tests.checkpoints import SHAPES, optimizer_at, weights_at
from tests.layouts.dcp import write_dcp
from tests.layouts.deepspeed import write_tag
from tests.torch_files import write_torch_file

if TYPE_CHECKING:
    from pathlib import Path


def _folder(run: Path, step: int) -> Path:
    checkpoint = run / f"checkpoint_{step // 10}"
    checkpoint.mkdir(parents=True)
    return checkpoint


def _rest(checkpoint: Path, step: int) -> None:
    write_torch_file(checkpoint / "scheduler.bin", {"last_epoch": step, "base_lrs": [1e-3]})
    write_torch_file(checkpoint / "sampler.bin", {"epoch": 0, "seed": step})
    write_torch_file(checkpoint / "scaler.pt", {"scale": 65536.0, "_growth_tracker": step})
    for rank in range(2):
        random = np.random.default_rng(step + rank).integers(0, 255, 5056, np.uint8)
        states: dict[str, Any] = {
            "step": step % 4,
            "random_state": (3, (step, rank), None),
            "torch_manual_seed": random,
        }
        write_torch_file(checkpoint / f"random_states_{rank}.pkl", states)
    write_torch_file(checkpoint / "custom_checkpoint_0.pkl", {"n": step})


def write_state(run: Path, step: int) -> Path:
    """Write one of plain data parallelism."""
    checkpoint = _folder(run, step)
    save_file(weights_at(step), checkpoint / "model.safetensors")
    write_torch_file(checkpoint / "optimizer.bin", optimizer_at(step))
    _rest(checkpoint, step)
    return checkpoint


def write_fsdp(run: Path, step: int) -> Path:
    """Write one of FSDP with sharded state."""
    checkpoint = _folder(run, step)
    weights = {f"model.{name}": array for name, array in weights_at(step).items()}
    write_dcp(checkpoint / "pytorch_model_fsdp_0", weights, {})
    moments = optimizer_at(step)["state"]
    states = {
        f"optimizer.state.{name}.{kind}": array
        for number, name in enumerate(SHAPES)
        for kind, array in moments[number].items()
    }
    write_dcp(checkpoint / "optimizer_0", states, {"optimizer.param_groups": [{"lr": 1e-5}]})
    _rest(checkpoint, step)
    return checkpoint


def write_deepspeed(run: Path, step: int) -> Path:
    """Write one of DeepSpeed's ZeRO-2."""
    checkpoint = _folder(run, step)
    write_tag(checkpoint / "pytorch_model", step, 2)
    _rest(checkpoint, step)
    return checkpoint


BUILDERS = {
    "accelerate": write_state,
    "accelerate-fsdp": write_fsdp,
    "accelerate-deepspeed": write_deepspeed,
}
