"""Checkpoints of ms-swift with Megatron, in the order of its ``save_checkpoint``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safetensors.numpy import save_file

from tests.checkpoints import weights_at, write_json
from tests.layouts.megatron import TRACKER, arguments
from tests.layouts.megatron_dist import write_dist
from tests.torch_files import write_torch_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def write_megatron(run: Path, step: int) -> Path:
    """Write one that is resumed from: Megatron's directory, and nothing for Hugging Face."""
    checkpoint = _begin(run, step)
    write_dist(checkpoint / f"iter_{step:07d}", step, common=True)
    (checkpoint / TRACKER).write_text(str(step), encoding="utf-8")
    return checkpoint


def write_exported(run: Path, step: int) -> Path:
    """Write one with ``save_safetensors``: the same weights a second time."""
    checkpoint = write_megatron(run, step)
    write_json(checkpoint / "config.json", {"model_type": "qwen2"})
    save_file(weights_at(step), checkpoint / "model.safetensors")
    return checkpoint


def write_weights(run: Path, step: int) -> Path:
    """Write one with ``save_safetensors`` and ``no_save_optim``: common.pt and safetensors."""
    checkpoint = _without_shards(run, step)
    write_json(checkpoint / "config.json", {"model_type": "qwen2"})
    save_file(weights_at(step), checkpoint / "model.safetensors")
    return checkpoint


def write_adapter(run: Path, step: int) -> Path:
    """Write the same of LoRA: the adapter, whose base is elsewhere."""
    checkpoint = _without_shards(run, step)
    configuration = {"peft_type": "LORA", "r": 8, "base_model_name_or_path": "org/model"}
    write_json(checkpoint / "adapter_config.json", configuration)
    adapter = {f"base_model.{name}.lora_A.weight": a for name, a in weights_at(step).items()}
    save_file(adapter, checkpoint / "adapter_model.safetensors")
    return checkpoint


def _without_shards(run: Path, step: int) -> Path:
    checkpoint = _begin(run, step)
    inner = checkpoint / f"iter_{step:07d}"
    inner.mkdir()
    common = {"args": arguments(no_save_optim=True), "iteration": step}
    write_torch_file(inner / "common.pt", common)
    (checkpoint / TRACKER).write_text(str(step), encoding="utf-8")
    return checkpoint


def _begin(run: Path, step: int) -> Path:
    checkpoint = run / f"checkpoint-{step}"
    checkpoint.mkdir(parents=True)
    write_json(checkpoint / "args.json", {"tuner_type": "full"})
    return checkpoint


BUILDERS: dict[str, Callable[[Path, int], Path]] = {
    "ms-swift-megatron": write_megatron,
    "ms-swift-megatron-export": write_exported,
    "ms-swift-megatron-weights": write_weights,
    "ms-swift-megatron-adapter": write_adapter,
}
