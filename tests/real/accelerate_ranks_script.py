"""One process of a training that saves its state with accelerate, three times.

``accelerate_ranks_script.py PROJECT``, started by torchrun.
"""

from __future__ import annotations

import os
import sys

import torch
from accelerate import Accelerator
from accelerate.utils import DataLoaderConfiguration, ProjectConfiguration, set_seed
from torch.utils.data import DataLoader, TensorDataset

SAVES = 3


class Counter:
    """An object of the script's own, which is saved with the rest."""

    def __init__(self) -> None:
        self.count = 0

    def state_dict(self) -> dict[str, int]:
        """Return the count."""
        return {"count": self.count}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Take the count."""
        self.count = state["count"]


def main() -> None:
    """Train and save."""
    accelerator = Accelerator(
        cpu=True,
        project_config=ProjectConfiguration(
            project_dir=sys.argv[1], automatic_checkpoint_naming=True
        ),
        dataloader_config=DataLoaderConfiguration(use_seedable_sampler=True),
    )
    set_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(64, 128), torch.nn.ReLU(), torch.nn.Linear(128, 8))
    optimizer = torch.optim.AdamW(model.parameters())
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: 1.0)
    data = DataLoader(TensorDataset(torch.randn(64, 64)), batch_size=4, shuffle=True)
    model, optimizer, schedule, data = accelerator.prepare(model, optimizer, schedule, data)
    counter = Counter()
    accelerator.register_for_checkpointing(counter)
    for (batch,) in data:
        accelerator.backward(model(batch).square().mean())
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        counter.count += 1
        if counter.count % 2 == 0:
            accelerator.save_state()
        if counter.count == 2 * SAVES:
            break
    accelerator.end_training()


if __name__ == "__main__":
    main()
    # Threads of gloo may outlive the interpreter, and abort what has ended well.
    os._exit(0)
