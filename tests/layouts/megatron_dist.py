"""Directories of Megatron's ``dist_checkpointing``, made without torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.checkpoints import SHAPES, optimizer_at, weights_at, write_json
from tests.layouts.dcp import write_dcp
from tests.torch_files import write_torch_file

if TYPE_CHECKING:
    from pathlib import Path

EVERYTHING = frozenset({"model", "optimizer", "extra"})


def write_dist(
    folder: Path,
    step: int,
    parts: frozenset[str] = EVERYTHING,
    *,
    common: bool = False,
    seed: int = 0,
    args: Any = None,
) -> None:
    """Write a directory with some parts of a training state.

    Args:
        folder: Where; it is made.
        step: The trainer's.
        parts: ``model``, ``optimizer`` and ``extra``, the random state.
        common: ``common.pt`` is a file, as before core 0.19.
        seed: Makes models of one step differ.
        args: Of the training.
    """
    tensors: dict[str, Any] = {}
    objects: dict[str, Any] = {}
    if "model" in parts:
        tensors |= {name.removeprefix("model."): a for name, a in weights_at(step + seed).items()}
    if "optimizer" in parts:
        moments = optimizer_at(step)["state"]
        for number, name in enumerate(SHAPES):
            for kind in ("exp_avg", "exp_avg_sq"):
                place = f"optimizer.state.{kind}.{name.removeprefix('model.')}"
                tensors[place] = moments[number][kind]
    if "extra" in parts:
        objects["rng_state/shard_0.0_1.1"] = [{"random_rng_state": (3, (step,), None)}]
    shared = {
        "args": args or {"seed": 1},
        "iteration": step,
        "opt_param_scheduler": {"num_steps": step},
    }
    if not common:
        objects["common_state/shard_0_1"] = shared
    write_dcp(folder, tensors, objects)
    for shard in folder.glob("*.distcp"):
        if not shard.stat().st_size:  # A rank that has nothing writes no file.
            shard.unlink()
    if common:
        write_torch_file(folder / "common.pt", shared)
    write_json(folder / "metadata.json", {"sharded_backend": "torch_dist"})
