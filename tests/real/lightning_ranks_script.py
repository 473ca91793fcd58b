"""Train with Lightning on two CPU ranks, sharded: ``python lightning_ranks_script.py DIRECTORY``.

``FSDPStrategy`` wants a GPU; ``ModelParallelStrategy`` writes the same directory and takes gloo.
"""

from __future__ import annotations

import os
import sys

import lightning
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.strategies import ModelParallelStrategy
from torch.distributed.fsdp import fully_shard


class Model(lightning.LightningModule):  # type: ignore[misc]
    """Two layers, sharded over the ranks."""

    def __init__(self) -> None:
        super().__init__()
        self.net = torch.nn.Sequential(torch.nn.Linear(64, 128), torch.nn.Linear(128, 1))

    def configure_model(self) -> None:
        fully_shard(self.net, mesh=self.device_mesh["data_parallel"])

    def training_step(self, batch: list[torch.Tensor], _: int) -> torch.Tensor:
        return self.net(batch[0]).square().mean()

    def configure_optimizers(self) -> tuple[list[object], list[object]]:
        optimizer = torch.optim.AdamW(self.parameters(), 1e-3)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 2)]


def main() -> None:
    """Train two epochs with a checkpoint after each."""
    torch.set_num_threads(1)
    data = torch.utils.data.TensorDataset(torch.randn(40, 64))
    trainer = lightning.Trainer(
        max_epochs=2,
        accelerator="cpu",
        devices=2,
        strategy=ModelParallelStrategy(
            data_parallel_size=2, tensor_parallel_size=1, process_group_backend="gloo"
        ),
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[ModelCheckpoint(sys.argv[1], save_last="link", save_top_k=-1)],
    )
    trainer.fit(Model(), torch.utils.data.DataLoader(data, batch_size=10))


if __name__ == "__main__":
    main()
    # Threads of gloo may outlive the interpreter, and abort what has ended well.
    os._exit(0)
