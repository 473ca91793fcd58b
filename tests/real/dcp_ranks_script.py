"""One rank of a training with FSDP2 that saves with torch.distributed.checkpoint.

``dcp_ranks_script.py DIRECTORY RANK WORLD``: model, optimizer, schedule and step go into ``step-N``
for three steps, as torchtitan saves them.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.state_dict import get_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

STEPS = 3


def main() -> None:
    """Train and save."""
    home, rank, world = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    store = f"file://{home}/store"
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=world)
    torch.manual_seed(0)
    # 65 rows: the ranks' pieces are not of one size.
    model = torch.nn.Sequential(torch.nn.Linear(64, 65), torch.nn.ReLU(), torch.nn.Linear(65, 7))
    fully_shard(model, mesh=init_device_mesh("cpu", (world,)))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: 1.0)
    for step in range(1, STEPS + 1):
        model(torch.randn(8, 64)).square().mean().backward()
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        weights, moments = get_state_dict(model, optimizer)
        state = {
            "model": weights,
            "optimizer": moments,
            "lr_scheduler": schedule.state_dict(),
            "train_state": {"step": step},
        }
        dcp.save(state, checkpoint_id=home / "run" / f"ckpt_{step}")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
    # Threads of gloo may outlive the interpreter, and abort what has ended well.
    os._exit(0)
