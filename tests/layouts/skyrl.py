"""Checkpoints as SkyRL writes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.checkpoints import adapter_at, write_adapter, write_json
from tests.layouts.fsdp import WORLD, data_at, write_huggingface, write_shards
from tests.layouts.megatron_dist import write_dist
from tests.torch_files import write_torch_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TRACKER = "latest_ckpt_global_step.txt"


def write_fsdp(run: Path, step: int) -> Path:
    """Write policy and critic of an RL training."""
    checkpoint = run / f"global_step_{step}"
    _write_model(checkpoint / "policy", step)
    _write_model(checkpoint / "critic", step, seed=500)
    return _end(checkpoint, step)


def write_fully_async(run: Path, step: int) -> Path:
    """Write the policy of fully asynchronous training of LoRA adapters."""
    checkpoint = run / f"global_step_{step}"
    _write_model(checkpoint / "policy", step)
    write_adapter(checkpoint / "policy/lora_adapter", adapter_at(step))
    _end(checkpoint, step)
    state = {"consumed_uids": ["3", "5"], "filtered_uids": ["5"], "epoch": 0}
    write_torch_file(checkpoint / "fully_async_state.pt", state)
    return checkpoint


def write_megatron(run: Path, step: int) -> Path:
    """Write the policy of a training with Megatron."""
    checkpoint = run / f"global_step_{step}"
    write_dist(checkpoint / "policy", step)
    write_huggingface(checkpoint / "policy/huggingface")
    return _end(checkpoint, step)


def _write_model(folder: Path, step: int, *, seed: int = 0) -> None:
    write_shards(folder, step, seed=seed)
    write_huggingface(folder / "huggingface")
    write_json(folder / "fsdp_config.json", {"fsdp_strategy": "fsdp2", "world_size": WORLD})


def _end(checkpoint: Path, step: int) -> Path:
    write_torch_file(checkpoint / "data.pt", data_at(step))
    trainer = {"global_step": step, "config": {"trainer": {"strategy": "fsdp2"}}}
    write_torch_file(checkpoint / "trainer_state.pt", trainer)
    (checkpoint.parent / TRACKER).write_text(str(step), encoding="utf-8")
    return checkpoint


BUILDERS: dict[str, Callable[[Path, int], Path]] = {
    "skyrl-fsdp": write_fsdp,
    "skyrl-fully-async": write_fully_async,
    "skyrl-megatron": write_megatron,
}
