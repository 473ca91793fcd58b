"""One rank of a small training with FSDP that saves as verl and SkyRL do.

Usage: fsdp_ranks_script.py RUN RANK WORLD KIND, KIND being fsdp2, fsdp1-mesh or fsdp1.

Source of what is saved: verl ``utils/checkpoint/fsdp_checkpoint_manager.py: save_checkpoint``.
"""

from __future__ import annotations

import json
import os
import random
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import (
    FullyShardedDataParallel,
    ShardedOptimStateDictConfig,
    ShardedStateDictConfig,
    StateDictType,
    fully_shard,
)

WIDTH = 64
ROWS = 97
"""Rows of the embedding: no multiple of the ranks, so that their pieces differ."""

MINI_BATCHES = 3
"""Optimizer steps for each step of the trainer."""


def main(run: Path, rank: int, world: int, kind: str) -> None:
    """Train and save two steps."""
    warnings.simplefilter("ignore")
    store = distributed.FileStore(str(run / "store"), world)
    distributed.init_process_group("gloo", store=store, rank=rank, world_size=world)
    torch.manual_seed(0)
    model = wrapped(kind, world)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: 1.0)
    for step in (1, 2):
        for _ in range(MINI_BATCHES):
            model(torch.randint(0, ROWS, (16,))).square().sum().backward()
            optimizer.step()
            optimizer.zero_grad()
        schedule.step()
        state = model_state(model, kind)
        files = {
            "model": state,
            "optim": optimizer.state_dict(),
            "extra_state": {
                "lr_scheduler": schedule.state_dict(),
                "rng": {
                    "cpu": torch.get_rng_state(),
                    "numpy": np.random.get_state(),  # noqa: NPY002 - what the trainers save
                    "random": random.getstate(),
                },
            },
        }
        save(run / "verl" / f"global_step_{step}" / "actor", files, rank, world)
        save(run / "skyrl" / f"global_step_{step}" / "policy", files, rank, world)
        held = {name: piece_of(tensor) for name, tensor in state.items()}
        pieces = {name: None if t is None else list(t.shape) for name, t in held.items()}
        (run / f"pieces_{rank}.json").write_text(json.dumps(pieces), encoding="utf-8")
        distributed.barrier()
        if rank == 0:
            finish(run, step, world)
        distributed.barrier()
    distributed.destroy_process_group()


def wrapped(kind: str, world: int) -> nn.Module:
    """Return a model of several parameters, shared out among the ranks."""
    model = nn.Sequential(
        nn.Embedding(ROWS, WIDTH),
        nn.Sequential(nn.Linear(WIDTH, 2 * WIDTH), nn.LayerNorm(2 * WIDTH)),
        # A value head, of whose one row all but the first rank have none.
        nn.Linear(2 * WIDTH, 1),
    )
    mesh = init_device_mesh("cpu", (world,), mesh_dim_names=("fsdp",))
    if kind == "fsdp2":
        fully_shard(model[1], mesh=mesh)
        return fully_shard(model, mesh=mesh)
    return FullyShardedDataParallel(
        model,
        device_id=torch.device("cpu"),
        device_mesh=mesh if kind == "fsdp1-mesh" else None,
        auto_wrap_policy=lambda module, recurse, **_: recurse or isinstance(module, nn.Linear),
    )


def model_state(model: nn.Module, kind: str) -> dict[str, Any]:
    """Return the rank's state dict."""
    state: dict[str, Any]
    if kind == "fsdp2":
        state = model.state_dict()
        return state
    with FullyShardedDataParallel.state_dict_type(
        model,
        StateDictType.SHARDED_STATE_DICT,
        ShardedStateDictConfig(offload_to_cpu=False),
        ShardedOptimStateDictConfig(offload_to_cpu=False),
    ):
        state = model.state_dict()
    return state


def piece_of(tensor: Any) -> torch.Tensor | None:
    """Return the rank's piece of a DTensor, or of a ShardedTensor where it has one."""
    if hasattr(tensor, "local_shards"):
        shards = tensor.local_shards()
        return shards[0].tensor if shards else None
    return tensor.to_local()


def save(folder: Path, files: dict[str, Any], rank: int, world: int) -> None:
    """Write one rank's files."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, state in files.items():
        torch.save(state, folder / f"{name}_world_size_{world}_rank_{rank}.pt")


def finish(run: Path, step: int, world: int) -> None:
    """Write what comes when all ranks are done."""
    for trainer, folder, tracker in (
        ("verl", "actor", "latest_checkpointed_iteration.txt"),
        ("skyrl", "policy", "latest_ckpt_global_step.txt"),
    ):
        checkpoint = run / trainer / f"global_step_{step}"
        configuration = json.dumps({"world_size": world})
        (checkpoint / folder / "fsdp_config.json").write_text(configuration, encoding="utf-8")
        torch.save({"_num_yielded": step}, checkpoint / "data.pt")
        if trainer == "skyrl":
            torch.save({"global_step": step, "config": {}}, checkpoint / "trainer_state.pt")
        (run / trainer / tracker).write_text(str(step), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
    # Threads of gloo may outlive the interpreter, and abort what has ended well.
    os._exit(0)
