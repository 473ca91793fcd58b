"""One of two processes that save a state with Megatron's ``dist_checkpointing``, as it does.

Called with the run directory, the rank, the number of ranks and the format.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp

HIDDEN = 64
STEPS = (10, 20)


def main(run: Path, rank: int, world: int, encoding: str) -> None:
    """Save two steps in a format."""
    # Megatron waits for a device that need not be there.
    torch.cuda.synchronize = lambda *_: None
    torch.cuda.current_device = lambda: "cpu"
    dist.init_process_group("gloo", init_method=f"file://{run}.store", rank=rank, world_size=world)
    for step in STEPS:
        checkpoint = run / f"iter_{step:07d}"
        if rank == 0:
            checkpoint.mkdir(parents=True)
        dist.barrier()
        save = {"torch": _legacy, "torch_dcp": _dcp, "torch_dist": _dist}[encoding]
        save(checkpoint, step, rank, world)
        dist.barrier()
        if rank == 0:
            (run / "latest_checkpointed_iteration.txt").write_text(str(step), encoding="utf-8")
        dist.barrier()
    dist.destroy_process_group()


def _arguments(world: int) -> argparse.Namespace:
    return argparse.Namespace(
        tensor_model_parallel_size=world,
        pipeline_model_parallel_size=1,
        expert_model_parallel_size=1,
        expert_tensor_parallel_size=None,
        world_size=world,
        use_distributed_optimizer=True,
        no_save_optim=None,
        params_dtype=torch.bfloat16,
    )


def _rest(step: int, world: int) -> dict[str, Any]:
    return {
        "args": _arguments(world),
        "checkpoint_version": 3.0,
        "iteration": step,
        "opt_param_scheduler": {"num_steps": 8 * step, "max_lr": 1e-5},
    }


def _legacy(checkpoint: Path, step: int, rank: int, world: int) -> None:
    torch.manual_seed(step + rank)
    model = torch.nn.Sequential(torch.nn.Linear(HIDDEN, HIDDEN), torch.nn.Linear(HIDDEN, HIDDEN))
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.randn(2, HIDDEN)).sum().backward()
    optimizer.step()
    folder = checkpoint / f"mp_rank_{rank:02d}"
    folder.mkdir()
    state = optimizer.state_dict()["state"]
    buckets = {0: {torch.float32: [dict(each) for each in state.values()]}}
    torch.save(buckets, folder / "distrib_optim.pt")
    groups = {"param_groups": [{"lr": 1e-5, "step": step}]}
    rng = {"torch_rng_state": torch.get_rng_state(), "rng_tracker_states": {}}
    whole = {
        **_rest(step, world),
        "model": model.state_dict(),
        "optimizer": {"optimizer": groups},
        "rng_state": [rng],
    }
    torch.save(whole, folder / "model_optim_rng.pt")


def _dcp(checkpoint: Path, step: int, _: int, world: int) -> None:
    from torch.distributed.device_mesh import init_device_mesh  # noqa: PLC0415
    from torch.distributed.tensor import Shard, distribute_tensor  # noqa: PLC0415

    torch.manual_seed(step)
    mesh = init_device_mesh("cpu", (world,))

    def sharded() -> Any:
        return distribute_tensor(torch.randn(HIDDEN, HIDDEN), mesh, [Shard(0)])

    state = {
        **_rest(step, world),
        "model": {"embedding.weight": sharded(), "norm.bias": torch.zeros(HIDDEN)},
        "optimizer": {"state": {"embedding.weight": {"exp_avg": sharded()}}},
    }
    dcp.save(state, storage_writer=dcp.FileSystemWriter(checkpoint))


def _dist(checkpoint: Path, step: int, rank: int, world: int) -> None:
    from megatron.core import dist_checkpointing  # noqa: PLC0415
    from megatron.core.dist_checkpointing.mapping import ShardedObject, ShardedTensor  # noqa: PLC0415

    torch.manual_seed(step + rank)

    def sharded(name: str) -> Any:
        return ShardedTensor.from_rank_offsets(
            name, torch.randn(HIDDEN // world, HIDDEN), (0, rank, world)
        )

    state = {
        **_rest(step, world),
        "model": {
            "decoder.weight": sharded("decoder.layers.mlp.weight"),
            "extra": ShardedObject(
                "decoder.layers.mlp._extra_state",
                torch.zeros(0, dtype=torch.uint8),
                (world,),
                (rank,),
            ),
        },
        "optimizer": {
            "exp_avg": sharded("optimizer.state.exp_avg.decoder.layers.mlp.weight"),
            "param_groups": [{"lr": 1e-5, "step": step}],
        },
        "rng_state": ShardedObject(
            "rng_state", [{"torch_rng_state": torch.get_rng_state()}], (world,), (rank,)
        ),
    }
    dist_checkpointing.save(state, str(checkpoint))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
    # Threads of gloo may outlive the interpreter, and abort what has ended well.
    os._exit(0)
