"""Checkpoints of the Hugging Face trainer in all of its forms."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.checkpoints import (
    SHAPES,
    optimizer_at,
    shard,
    weights_at,
    write_adapter_checkpoint,
    write_arguments,
    write_checkpoint,
    write_json,
    write_rank_states,
)
from tests.layouts.dcp import write_dcp
from tests.torch_files import write_legacy_torch_file, write_torch_file

if TYPE_CHECKING:
    from pathlib import Path


def write_sharded(run: Path, step: int) -> Path:
    """Write one whose weights are three shards and an index."""
    checkpoint = write_checkpoint(run, step)
    shard(checkpoint)
    return checkpoint


def write_model_only(run: Path, step: int) -> Path:
    """Write one with ``save_only_model``."""
    checkpoint = write_checkpoint(run, step)
    write_arguments(checkpoint, save_only_model=True)
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
        (checkpoint / name).unlink()
    return checkpoint


def write_two_ranks(run: Path, step: int) -> Path:
    """Write one of two processes, with a gradient scaler and the files of TRL and others."""
    checkpoint = write_checkpoint(run, step)
    write_arguments(checkpoint, processes=2)
    write_rank_states(checkpoint, 2)
    write_torch_file(checkpoint / "scaler.pt", {"scale": 65536.0, "_growth_tracker": step})
    write_json(checkpoint / "tokens_state.json", {"total": 100 * step, "trainable": 50 * step})
    write_json(checkpoint / "args.json", {"model": "qwen", "step": step})
    write_json(checkpoint / "entropy_ctrl_state.json", {"entropy_coef": 1 / step})
    return checkpoint


def write_torch_weights(run: Path, step: int) -> Path:
    """Write one with ``pytorch_model.bin``, as ``save_safetensors=False`` left it up to 4.57."""
    checkpoint = write_checkpoint(run, step)
    (checkpoint / "model.safetensors").unlink()
    write_torch_file(checkpoint / "pytorch_model.bin", dict(weights_at(step)))
    return checkpoint


def write_torch_legacy(run: Path, step: int) -> Path:
    """Write one whose torch files are of the form before the archives, as old torch wrote them."""
    checkpoint = write_checkpoint(run, step)
    (checkpoint / "model.safetensors").unlink()
    write_legacy_torch_file(checkpoint / "pytorch_model.bin", dict(weights_at(step)))
    write_legacy_torch_file(checkpoint / "optimizer.pt", optimizer_at(step))
    return checkpoint


def write_fsdp_sharded(run: Path, step: int) -> Path:
    """Write one of FSDP with sharded state, on two ranks: no configuration, no arguments."""
    checkpoint = write_checkpoint(run, step)
    write_rank_states(checkpoint, 2)
    for name in (
        "model.safetensors",
        "config.json",
        "training_args.bin",
        "optimizer.pt",
        "tokenizer.json",
        "tokenizer_config.json",
    ):
        (checkpoint / name).unlink()
    weights = {f"model.{name}": array for name, array in weights_at(step).items()}
    write_dcp(checkpoint / "pytorch_model_fsdp_0", weights, {})
    moments = optimizer_at(step)["state"]
    states = {
        f"optimizer.state.{name}.{kind}": array
        for number, name in enumerate(SHAPES)
        for kind, array in moments[number].items()
    }
    groups = {"optimizer.param_groups": [{"lr": 1e-5, "params": list(SHAPES)}]}
    write_dcp(checkpoint / "optimizer_0", states, groups)
    return checkpoint


def write_fsdp_full(run: Path, step: int) -> Path:
    """Write one of FSDP with full state: one file of weights, ``optimizer.bin``."""
    checkpoint = write_checkpoint(run, step)
    (checkpoint / "optimizer.pt").rename(checkpoint / "optimizer.bin")
    write_torch_file(checkpoint / "pytorch_model_fsdp.bin", dict(weights_at(step)))
    write_arguments(checkpoint, processes=2)
    write_rank_states(checkpoint, 2)
    return checkpoint


def write_fsdp_local(run: Path, step: int) -> Path:
    """Write one of FSDP without DCP: a file of each rank for the model and the optimizer."""
    checkpoint = write_checkpoint(run, step)
    for name in ("model.safetensors", "config.json", "training_args.bin", "optimizer.pt"):
        (checkpoint / name).unlink()
    for rank in range(2):
        weights = {name: array[rank::2] for name, array in weights_at(step).items()}
        write_torch_file(checkpoint / f"pytorch_model_fsdp_0_rank{rank}.bin", weights)
        write_torch_file(checkpoint / f"optimizer_0_rank{rank}.bin", optimizer_at(step))
    write_rank_states(checkpoint, 2)
    return checkpoint


BUILDERS = {
    "huggingface": write_checkpoint,
    "huggingface-sharded": write_sharded,
    "huggingface-adapter": write_adapter_checkpoint,
    "huggingface-model-only": write_model_only,
    "huggingface-two-ranks": write_two_ranks,
    "huggingface-torch": write_torch_weights,
    "huggingface-torch-legacy": write_torch_legacy,
    "huggingface-fsdp-sharded": write_fsdp_sharded,
    "huggingface-fsdp-full": write_fsdp_full,
    "huggingface-fsdp-local": write_fsdp_local,
}
