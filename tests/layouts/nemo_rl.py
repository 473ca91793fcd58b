"""Checkpoints as NeMo-RL publishes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from safetensors.numpy import save_file

from tests.checkpoints import HIDDEN, SHAPES, optimizer_at, weights_at, write_json
from tests.layouts.dcp import write_dcp
from tests.layouts.fsdp import WORLD, data_at, piece_of
from tests.layouts.megatron_dist import write_dist
from tests.torch_files import write_torch_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy as np


def write_dtensor(run: Path, step: int) -> Path:
    """Write policy and value model of PPO, both as DCP."""
    checkpoint = _begin(run, step)
    for seed, model in enumerate(("policy", "value")):
        weights = weights_at(step + 500 * seed)
        tensors = {f"model.{name}": array for name, array in weights.items()}
        write_dcp(checkpoint / model / "weights", tensors, {})
        write_dcp(checkpoint / model / "optimizer", *_optimizer(step))
        _write_tokenizer(checkpoint / model / "tokenizer")
    return _end(checkpoint, step)


def write_automodel(run: Path, step: int) -> Path:
    """Write a policy as safetensors, each rank its own rows, and what asynchronous GRPO adds."""
    checkpoint = _begin(run, step, current_step=step, total_steps=0)
    folder = checkpoint / "policy/weights/model"
    folder.mkdir(parents=True)
    for rank in range(WORLD):
        pieces = {name: piece_of(array, rank) for name, array in weights_at(step).items()}
        name = f"shard-{rank + 1:05d}-model-00001-of-00001.safetensors"
        save_file({key: piece for key, piece in pieces.items() if piece.size}, folder / name)
    (folder / ".hf_metadata").mkdir()
    write_json(folder / ".hf_metadata/config.json", {"hidden_size": HIDDEN})
    write_dcp(checkpoint / "policy/optimizer/optim", *_optimizer(step))
    _write_tokenizer(checkpoint / "policy/tokenizer")
    write_torch_file(checkpoint / "replay_buffer.pt", {"trajectories": [], "target_step": step})
    write_torch_file(checkpoint / "rollouts.pt", {"next_nemo_gym_task_index": step})
    return _end(checkpoint, step)


def write_megatron(run: Path, step: int) -> Path:
    """Write a policy with Megatron, whose one state holds the optimizer, for several tasks."""
    checkpoint = _begin(run, step)
    write_dist(checkpoint / "policy/weights/iter_0000000", step)
    _write_tokenizer(checkpoint / "policy/tokenizer")
    write_torch_file(checkpoint / "train_dataloader_math.pt", data_at(step))
    write_torch_file(checkpoint / "train_dataloader_code.pt", data_at(step))
    return checkpoint


def _begin(run: Path, step: int, **changes: Any) -> Path:
    checkpoint = run / f"step_{step}"
    checkpoint.mkdir(parents=True)
    info = {
        "consumed_samples": 64 * step,
        "current_step": step % 7,
        "current_epoch": step // 7,
        "total_steps": step,
        "total_valid_tokens": 512 * step,
        "val:accuracy": 0.5,
        **changes,
    }
    write_json(checkpoint / "training_info.json", info)
    (checkpoint / "config.yaml").write_text("policy: {}\n", encoding="utf-8")
    return checkpoint


def _end(checkpoint: Path, step: int) -> Path:
    write_torch_file(checkpoint / "train_dataloader.pt", data_at(step))
    return checkpoint


def _optimizer(step: int) -> tuple[dict[str, np.ndarray[Any, Any]], dict[str, Any]]:
    moments = optimizer_at(4 * step)["state"]
    tensors = {
        f"optim.state.{name}.{kind}": array
        for number, name in enumerate(SHAPES)
        for kind, array in moments[number].items()
    }
    return tensors, {"sched": {"last_epoch": step}, "optim.param_groups": [{"lr": 1e-6}]}


def _write_tokenizer(folder: Path) -> None:
    folder.mkdir(parents=True)
    write_json(folder / "tokenizer.json", {"model": {"type": "WordLevel", "vocab": {}}})
    write_json(folder / "tokenizer_config.json", {"model_max_length": 64})


BUILDERS: dict[str, Callable[[Path, int], Path]] = {
    "nemo-rl-dtensor": write_dtensor,
    "nemo-rl-automodel": write_automodel,
    "nemo-rl-megatron": write_megatron,
}
