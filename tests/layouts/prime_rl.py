"""Checkpoints as prime-rl writes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.checkpoints import SHAPES, optimizer_at, weights_at
from tests.layouts.dcp import write_dcp
from tests.layouts.fsdp import WORLD, data_at
from tests.torch_files import Global, Instance, write_torch_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def write_rl(run: Path, step: int) -> Path:
    """Write both halves of an RL training."""
    checkpoint = run / f"step_{step}"
    _write_trainer(checkpoint, step)
    (checkpoint / "orchestrator").mkdir()
    progress = Instance(
        Global("prime_rl.orchestrator.types", "Progress"),
        step=step,
        total_tokens=512 * step,
        total_samples=64 * step,
        total_problems=8 * step,
    )
    source = {"rng": (3, (step,), None), "envs": {"math": {"sampler": {"cursor": step}}}}
    state = {"progress": progress, "train_source": source}
    write_torch_file(checkpoint / "orchestrator/progress.pt", state)
    return checkpoint


def write_sft(run: Path, step: int) -> Path:
    """Write a checkpoint of supervised fine-tuning, where the trainer has the data."""
    checkpoint = run / f"step_{step}"
    _write_trainer(checkpoint, step)
    (checkpoint / "trainer/dataloader").mkdir()
    for rank in range(WORLD):
        write_torch_file(checkpoint / f"trainer/dataloader/rank_{rank}.pt", data_at(step))
    return checkpoint


def _write_trainer(checkpoint: Path, step: int) -> None:
    tensors: dict[str, Any] = {f"app.model.{n}": array for n, array in weights_at(step).items()}
    moments = optimizer_at(step)["state"]
    for number, name in enumerate(SHAPES):
        for kind, array in moments[number].items():
            tensors[f"app.optimizers.state.{name}.{kind}"] = array
    objects = {"app.progress.step": step, "app.scheduler.last_epoch": step}
    write_dcp(checkpoint / "trainer", tensors, objects)


BUILDERS: dict[str, Callable[[Path, int], Path]] = {
    "prime-rl": write_rl,
    "prime-rl-sft": write_sft,
}
