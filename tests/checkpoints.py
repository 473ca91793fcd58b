"""Whole Hugging Face checkpoints in the real formats, made without torch.

They are small, but every tensor that a test damages spans several pages, and step counters, shapes
and histories agree as a trainer's do.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.numpy import save_file

from tests.torch_files import Global, Instance, Reduced, torch_file, write_torch_file

if TYPE_CHECKING:
    from pathlib import Path

Weights = dict[str, np.ndarray[Any, Any]]

HIDDEN = 64
LAYERS = 3
SHAPES: dict[str, tuple[int, ...]] = {
    "model.embed_tokens.weight": (96, HIDDEN),
    **{
        f"model.layers.{layer}.{name}": shape
        for layer in range(LAYERS)
        for name, shape in (
            ("mlp.down_proj.weight", (HIDDEN, 2 * HIDDEN)),
            ("self_attn.q_proj.weight", (HIDDEN, HIDDEN)),
        )
    },
    "model.norm.weight": (HIDDEN,),
}


def weights_at(step: int) -> Weights:
    """Return weights that differ at every step and hold no zero."""
    random = np.random.default_rng(step)
    return {
        name: (random.standard_normal(shape) * 0.02 + 0.001).astype(np.float32)
        for name, shape in SHAPES.items()
    }


def optimizer_at(
    step: int, shapes: dict[str, tuple[int, ...]] = SHAPES, seed: int | None = None
) -> dict[str, Any]:
    """Return the state of an AdamW that has made ``step`` steps."""
    random = np.random.default_rng(step + 1 if seed is None else seed + 1)
    state = {
        number: {
            "step": np.array(step, np.float32),
            "exp_avg": random.standard_normal(shape).astype(np.float32),
            "exp_avg_sq": random.random(shape).astype(np.float32),
        }
        for number, shape in enumerate(shapes.values())
    }
    groups = [{"lr": 1e-5, "betas": (0.9, 0.999), "params": list(range(len(shapes)))}]
    return {"state": state, "param_groups": groups}


def trainer_state_at(step: int, **changes: Any) -> dict[str, Any]:
    """Return the trainer state of a run that logs every step."""
    log = [
        {"loss": 1.0 / at, "grad_norm": 0.5, "learning_rate": 1e-5, "epoch": at / 100, "step": at}
        for at in range(1, step + 1)
    ]
    return {
        "best_global_step": None,
        "best_metric": None,
        "best_model_checkpoint": None,
        "epoch": step / 100,
        "eval_steps": 500,
        "global_step": step,
        "is_local_process_zero": True,
        "is_world_process_zero": True,
        "log_history": log,
        "logging_steps": 1,
        "max_steps": 1000,
        "num_train_epochs": 1,
        "save_steps": 5,
        "stateful_callbacks": {},
        "train_batch_size": 1,
        **changes,
    }


def write_checkpoint(run: Path, step: int, *, seed: int | None = None) -> Path:
    """Write ``checkpoint-<step>`` with full weights, in the order of the trainer; return it."""
    checkpoint = run / f"checkpoint-{step}"
    checkpoint.mkdir(parents=True)
    write_json(checkpoint / "config.json", {"model_type": "qwen2", "hidden_size": HIDDEN})
    save_file(weights_at(step if seed is None else seed), checkpoint / "model.safetensors")
    write_rest(checkpoint, step, seed=seed)
    return checkpoint


def adapter_at(step: int) -> Weights:
    """Return the weights of a LoRA adapter of rank 16."""
    random = np.random.default_rng(step)
    weights: Weights = {}
    for layer in range(LAYERS):
        stem = f"base_model.model.model.layers.{layer}.self_attn.q_proj"
        for name, shape in (("lora_A", (16, HIDDEN)), ("lora_B", (HIDDEN, 16))):
            weights[f"{stem}.{name}.weight"] = random.standard_normal(shape).astype(np.float32)
    return weights


def write_adapter_checkpoint(run: Path, step: int, weights: Weights | None = None) -> Path:
    """Write ``checkpoint-<step>`` of a LoRA training; return it."""
    checkpoint = run / f"checkpoint-{step}"
    weights = adapter_at(step) if weights is None else weights
    write_adapter(checkpoint, weights)
    write_rest(checkpoint, step, {name: array.shape for name, array in weights.items()})
    return checkpoint


def write_adapter(folder: Path, weights: Weights, **configuration: Any) -> None:
    """Write an adapter's weights and configuration."""
    folder.mkdir(parents=True)
    save_file(weights, folder / "adapter_model.safetensors")
    write_json(folder / "adapter_config.json", {"peft_type": "LORA", "r": 16, **configuration})


def shard(checkpoint: Path, count: int = 3) -> None:
    """Turn a full checkpoint's weights into shards with an index."""
    weights = weights_at(int(checkpoint.name.split("-")[1]))
    (checkpoint / "model.safetensors").unlink()
    names = sorted(weights)
    weight_map: dict[str, str] = {}
    for number in range(count):
        shard_name = f"model-{number + 1:05d}-of-{count:05d}.safetensors"
        own = names[number::count]
        save_file({name: weights[name] for name in own}, checkpoint / shard_name)
        weight_map |= dict.fromkeys(own, shard_name)
    size = sum(array.nbytes for array in weights.values())
    index = {"metadata": {"total_size": size}, "weight_map": weight_map}
    write_json(checkpoint / "model.safetensors.index.json", index)


def write_rest(
    checkpoint: Path,
    step: int,
    shapes: dict[str, tuple[int, ...]] = SHAPES,
    *,
    seed: int | None = None,
) -> None:
    """Write everything but the weights and the configuration, the trainer state last."""
    write_json(checkpoint / "tokenizer.json", {"model": {"type": "WordLevel", "vocab": {}}})
    write_json(checkpoint / "tokenizer_config.json", {"model_max_length": 64})
    for name, content in _states_at(step, tuple(shapes.items()), seed).items():
        (checkpoint / name).write_bytes(content)
    write_json(checkpoint / "trainer_state.json", trainer_state_at(step))


@cache
def _states_at(
    step: int, shapes: tuple[tuple[str, tuple[int, ...]], ...], seed: int | None
) -> dict[str, bytes]:
    """Return the torch files of a step; making them takes longer than verifying them."""
    values = {
        "training_args.bin": _arguments(),
        "optimizer.pt": optimizer_at(step, dict(shapes), seed),
        "scheduler.pt": {"base_lrs": [1e-5], "last_epoch": step, "_step_count": step + 1},
        "rng_state.pth": OrderedDict(
            python=(3, (1, 2, 3), None), cpu=np.arange(256, dtype=np.uint8)
        ),
    }
    return {
        name: torch_file(value, folder=name.partition(".")[0]) for name, value in values.items()
    }


def write_arguments(checkpoint: Path, *, processes: int = 1, **changes: Any) -> None:
    """Write ``training_args.bin`` with the attributes that matter here."""
    write_torch_file(checkpoint / "training_args.bin", _arguments(processes, **changes))


def _arguments(processes: int = 1, **changes: Any) -> Instance:
    arguments = {
        "fp16": False,
        "optim": Reduced(Global("transformers.training_args", "OptimizerNames"), "adamw_torch"),
        "save_only_model": False,
        "distributed_state": Instance(
            Global("accelerate.state", "PartialState"), num_processes=processes, process_index=0
        ),
        **changes,
    }
    return Instance(Global("trl.trainer.grpo_config", "GRPOConfig"), **arguments)


def write_rank_states(checkpoint: Path, ranks: int) -> None:
    """Write the random states of several processes instead of the one."""
    (checkpoint / "rng_state.pth").unlink()
    for rank in range(ranks):
        rng = OrderedDict(python=(3, (rank,), None), cpu=np.arange(256, dtype=np.uint8))
        write_torch_file(checkpoint / f"rng_state_{rank}.pth", rng)


def edit_state(checkpoint: Path, **changes: Any) -> None:
    """Change keys of ``trainer_state.json``."""
    path = checkpoint / "trainer_state.json"
    write_json(path, {**json.loads(path.read_text(encoding="utf-8")), **changes})


def write_json(path: Path, value: Any) -> None:
    """Write JSON as a trainer does: in place, not atomically."""
    path.write_text(json.dumps(value), encoding="utf-8")


def zero_second_half(path: Path) -> None:
    """Make the second half of a file zero, as a write that never reached the disk leaves it."""
    content = path.read_bytes()
    half = len(content) // 2
    path.write_bytes(content[:half] + bytes(len(content) - half))
