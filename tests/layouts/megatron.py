"""Checkpoints of Megatron-LM in its formats, of two model-parallel ranks or of two shards."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np

from tests.checkpoints import SHAPES, optimizer_at, weights_at, write_json
from tests.layouts.dcp import write_dcp
from tests.layouts.megatron_dist import write_dist
from tests.torch_files import Global, Instance, write_torch_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TRACKER = "latest_checkpointed_iteration.txt"


def arguments(**changes: Any) -> Instance:
    """Return the arguments of the training, as they are pickled in every checkpoint."""
    values = {
        "tensor_model_parallel_size": 2,
        "pipeline_model_parallel_size": 1,
        "expert_model_parallel_size": 1,
        "expert_tensor_parallel_size": None,
        "world_size": 4,
        "use_distributed_optimizer": False,
        "no_save_optim": None,
        "verify_integrity": False,
        **changes,
    }
    return Instance(Global("argparse", "Namespace"), **values)


def directories(tensor: int, pipeline: int, expert: int) -> list[str]:
    """Return the names of every rank's directory."""
    return [
        "_".join(
            [f"mp_rank_{t:02d}"]
            + ([f"{p:03d}"] if pipeline > 1 else [])
            + ([f"{e:03d}"] if expert > 1 else [])
        )
        for t in range(tensor)
        for p in range(pipeline)
        for e in range(expert)
    ]


def legacy_state(step: int, rank: int, **changes: Any) -> dict[str, Any]:
    """Return what ``model_optim_rng.pt`` of a rank holds."""
    distributed = changes.get("use_distributed_optimizer")
    groups = [{"lr": 1e-5, "step": step, "params": list(range(len(SHAPES)))}]
    inner = {"param_groups": groups} if distributed else optimizer_at(step + rank)
    random = np.random.default_rng(step + rank).integers(0, 255, 5056, np.uint8)
    return {
        "args": arguments(**changes),
        "checkpoint_version": 3.0,
        "iteration": step,
        "model": weights_at(step + 100 * rank),
        "optimizer": {"optimizer": inner, "grad_scaler": {"scale": np.full(1, np.inf, np.float32)}},
        "opt_param_scheduler": {"max_lr": 1e-5, "num_steps": 8 * step},
        "rng_state": [{"random_rng_state": (3, (step,), None), "torch_rng_state": random}],
        "num_floating_point_operations_so_far": 1000 * step,
    }


def write_legacy(run: Path, step: int, ranks: tuple[int, int, int] = (2, 1, 1)) -> Path:
    """Write the ``torch`` format: the optimizer beside the model, in each rank's file."""
    checkpoint = run / f"iter_{step:07d}"
    tensor, pipeline, expert = ranks
    sizes = {
        "tensor_model_parallel_size": tensor,
        "pipeline_model_parallel_size": pipeline,
        "expert_model_parallel_size": expert,
        "world_size": tensor * pipeline * expert,
    }
    for rank, name in enumerate(directories(*ranks)):
        (checkpoint / name).mkdir(parents=True)
        state = legacy_state(step, rank, **sizes)
        write_torch_file(checkpoint / name / "model_optim_rng.pt", state)
    return published(checkpoint, step)


def write_legacy_distributed(run: Path, step: int) -> Path:
    """Write the ``torch`` format with the distributed optimizer, in a file of its own."""
    checkpoint = run / f"iter_{step:07d}"
    for rank, name in enumerate(directories(2, 1, 1)):
        (checkpoint / name).mkdir(parents=True)
        moments = optimizer_at(step + rank)["state"]
        buckets = {0: {"dtype": [dict(moment) for moment in moments.values()]}}
        write_torch_file(checkpoint / name / "distrib_optim.pt", buckets)
        state = legacy_state(step, rank, use_distributed_optimizer=True)
        write_torch_file(checkpoint / name / "model_optim_rng.pt", state)
    return published(checkpoint, step)


def write_torch_dist(run: Path, step: int) -> Path:
    """Write ``torch_dist`` as since core 0.19: the common state is an object in the shards."""
    checkpoint = run / f"iter_{step:07d}"
    write_dist(checkpoint, step)
    (checkpoint / "tokenizer").mkdir()
    write_json(checkpoint / "tokenizer/tokenizer.json", {"model": {"vocab": {}}})
    return published(checkpoint, step)


def write_torch_dist_common(run: Path, step: int) -> Path:
    """Write ``torch_dist`` as before core 0.19, with ``common.pt``."""
    checkpoint = run / f"iter_{step:07d}"
    write_dist(checkpoint, step, common=True)
    return published(checkpoint, step)


def write_torch_dist_integrity(run: Path, step: int) -> Path:
    """Write ``torch_dist`` with ``--verify-integrity``: the digest of every file is stated."""
    checkpoint = run / f"iter_{step:07d}"
    write_dist(checkpoint, step, args=arguments(verify_integrity=True))
    write_integrity(checkpoint)
    return published(checkpoint, step)


def write_torch_dcp(run: Path, step: int) -> Path:
    """Write ``torch_dcp``: the state dict as it is, and no ``metadata.json``."""
    checkpoint = run / f"iter_{step:07d}"
    tensors = {f"model.{name}": array for name, array in weights_at(step).items()}
    moments = optimizer_at(step)["state"]
    for number, name in enumerate(SHAPES):
        for kind in ("exp_avg", "exp_avg_sq"):
            tensors[f"optimizer.state.{name}.{kind}"] = moments[number][kind]
    objects = {"args": arguments(), "iteration": step, "checkpoint_version": 3.0}
    write_dcp(checkpoint, tensors, objects)
    return published(checkpoint, step)


def write_release(run: Path, step: int) -> Path:
    """Write converted weights; nothing in them is of a step."""
    checkpoint = run / "release"
    write_dist(checkpoint, step, frozenset({"model"}))
    (run / TRACKER).write_text("release", encoding="utf-8")
    return checkpoint


def write_integrity(checkpoint: Path) -> None:
    """Write ``integrity.json`` with the SHA-256 of every file at the top."""
    digests = {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(checkpoint.iterdir())
        if file.is_file() and file.name != "integrity.json"
    }
    document = {"algorithm": "sha256", "files": digests}
    (checkpoint / "integrity.json").write_text(json.dumps(document, indent=2), encoding="utf-8")


def published(checkpoint: Path, step: int) -> Path:
    """Let the tracker name the checkpoint, and return it."""
    (checkpoint.parent / TRACKER).write_text(str(step), encoding="utf-8")
    return checkpoint


BUILDERS: dict[str, Callable[[Path, int], Path]] = {
    "megatron-torch": write_legacy,
    "megatron-torch-distributed": write_legacy_distributed,
    "megatron-torch-dist": write_torch_dist,
    "megatron-torch-dist-common": write_torch_dist_common,
    "megatron-torch-dist-integrity": write_torch_dist_integrity,
    "megatron-torch-dcp": write_torch_dcp,
}
