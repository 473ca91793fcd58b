"""Checkpoints of LLaMA-Factory v1, with data parallelism and with FSDP2, of two processes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from safetensors.numpy import save_file

from tests.checkpoints import SHAPES, optimizer_at, weights_at, write_json
from tests.layouts.dcp import write_dcp
from tests.torch_files import write_torch_file

if TYPE_CHECKING:
    from pathlib import Path


def _rest(checkpoint: Path, step: int) -> None:
    write_json(
        checkpoint / "metadata.json",
        {"global_step": step, "epoch": step / 100, "num_training_steps": 1000},
    )
    write_torch_file(checkpoint / "scheduler.pt", {"last_epoch": step, "base_lrs": [1e-5]})
    for rank in range(2):
        random = np.random.default_rng(step + rank).integers(0, 255, 5056, np.uint8)
        for folder, value in (
            ("dataloader", {"position": 8 * step, "rank": rank}),
            ("rng_state", {"cpu": random}),
        ):
            (checkpoint / folder).mkdir(exist_ok=True)
            write_torch_file(checkpoint / folder / f"rank_{rank}.pt", value)
    (checkpoint / "CHECKPOINT_COMPLETE").touch()


def write_ddp(run: Path, step: int) -> Path:
    """Write one of data parallelism: a Hugging Face model, and one file of the optimizer."""
    checkpoint = run / f"checkpoint-{step}"
    (checkpoint / "model").mkdir(parents=True)
    (checkpoint / "optimizer").mkdir()
    write_json(checkpoint / "model" / "config.json", {"model_type": "qwen2"})
    save_file(weights_at(step), checkpoint / "model" / "model.safetensors")
    write_torch_file(checkpoint / "optimizer" / "state_dict.pt", optimizer_at(step))
    _rest(checkpoint, step)
    return checkpoint


def write_fsdp2(run: Path, step: int) -> Path:
    """Write one of FSDP2: two directories of torch.distributed.checkpoint."""
    checkpoint = run / f"checkpoint-{step}"
    weights = {f"model.{name}": array for name, array in weights_at(step).items()}
    write_dcp(checkpoint / "model", weights, {})
    moments = optimizer_at(step)["state"]
    states = {
        f"optimizer.state.{name}.{kind}": array
        for number, name in enumerate(SHAPES)
        for kind, array in moments[number].items()
    }
    write_dcp(checkpoint / "optimizer", states, {})
    _rest(checkpoint, step)
    return checkpoint


BUILDERS = {"llamafactory-ddp": write_ddp, "llamafactory-fsdp2": write_fsdp2}
