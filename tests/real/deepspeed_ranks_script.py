"""One rank of a training with DeepSpeed: ``deepspeed_ranks_script.py DIRECTORY STAGE``.

Started by torchrun. Two steps are made, and each is saved under a tag of its own.
"""

from __future__ import annotations

import os
import sys

import deepspeed
import torch
import torch.distributed as dist

STEPS = 2


def main() -> None:
    """Train and save."""
    output, stage = sys.argv[1], int(sys.argv[2])
    deepspeed.init_distributed("gloo")
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(64, 128), torch.nn.ReLU(), torch.nn.Linear(128, 32))
    engine, *_ = deepspeed.initialize(
        model=model,
        model_parameters=model.parameters(),
        config={
            "train_micro_batch_size_per_gpu": 4,
            "gradient_accumulation_steps": 1,
            "optimizer": {"type": "AdamW", "params": {"lr": 1e-3, "torch_adam": True}},
            "zero_optimization": {"stage": stage, "stage3_param_persistence_threshold": 0},
            "bf16": {"enabled": stage == 2},
        },
    )
    for _ in range(STEPS):
        batch = torch.randn(4, 64, dtype=next(engine.module.parameters()).dtype)
        engine.backward(engine(batch).float().square().mean())
        engine.step()
        engine.save_checkpoint(output)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
    # Threads of gloo may outlive the interpreter, and abort what has ended well.
    os._exit(0)
