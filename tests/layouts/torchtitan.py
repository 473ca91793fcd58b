"""Checkpoints of torchtitan: a whole one, and the two kinds of last ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from safetensors.numpy import save_file

from tests.checkpoints import SHAPES, optimizer_at, weights_at, write_json
from tests.layouts.dcp import write_dcp

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def _model(step: int) -> dict[str, Any]:
    return {name.removeprefix("model."): array for name, array in weights_at(step).items()}


def write_whole(run: Path, step: int) -> Path:
    """Write ``step-N`` of a training that goes on."""
    checkpoint = run / f"step-{step}"
    tensors = _model(step)
    moments = optimizer_at(step)["state"]
    objects: dict[str, Any] = {
        "lr_scheduler.last_epoch": step,
        "dataloader.dp_rank_0": bytes(f"position {8 * step}", "ascii"),
        "dataloader.world_size": 2,
        "train_state.step": step,
        "train_state.ntokens_seen": 4096 * step,
    }
    for number, name in enumerate(SHAPES):
        parameter = name.removeprefix("model.")
        for kind, array in moments[number].items():
            tensors[f"optimizer.state.{parameter}.{kind}"] = array
        objects[f"optimizer.param_groups.{parameter}.lr"] = 1e-5
    write_dcp(checkpoint, tensors, objects)
    return checkpoint


def write_last(run: Path, step: int) -> Path:
    """Write the last ``step-N``: the model alone."""
    checkpoint = run / f"step-{step}"
    write_dcp(checkpoint, _model(step), {})
    return checkpoint


def write_last_exported(run: Path, step: int) -> Path:
    """Write the last ``step-N`` for Hugging Face: each rank's pieces, then the joined shards."""
    checkpoint = run / f"step-{step}"
    (checkpoint / "sharded").mkdir(parents=True)
    weights = weights_at(step)
    names = sorted(weights)
    weight_map: dict[str, str] = {}
    for number in range(2):
        own = {name: weights[name] for name in names[number::2]}
        shard = f"model-{number + 1:05d}-of-00002.safetensors"
        save_file(own, checkpoint / shard)
        save_file(own, checkpoint / "sharded" / f"shard-00001-{shard}")
        weight_map |= dict.fromkeys(own, shard)
    index = {"metadata": {"total_size": 1}, "weight_map": weight_map}
    write_json(checkpoint / "model.safetensors.index.json", index)
    return checkpoint


BUILDERS: dict[str, Callable[[Path, int], Path]] = {
    "torchtitan": write_whole,
    "torchtitan-last": write_last,
    "torchtitan-last-export": write_last_exported,
}
