"""Checkpoints of MosaicML Composer: the whole state in one file, or shards in a directory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tests.checkpoints import SHAPES, optimizer_at, weights_at
from tests.layouts.dcp import write_dcp
from tests.torch_files import write_torch_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def state_at(step: int) -> dict[str, Any]:
    """Return the whole state, with a metric that is infinite until it is computed."""
    moments = optimizer_at(step)["state"]
    adam = {name: moments[number] for number, name in enumerate(SHAPES)}
    return {
        "state": {
            "model": weights_at(step),
            "optimizers": {"DecoupledAdamW": {"state": adam, "param_groups": [{"lr": 1e-5}]}},
            "schedulers": {"LambdaLR": {"last_epoch": step}},
            "timestamp": {"Timestamp": {"epoch": 0, "batch": step, "sample": 8 * step}},
            "train_metrics": {"Perplexity": {"state_dict": {"best": np.full(1, np.inf)}}},
            "run_name": "run",
        },
        "rng": [{"python": (3, (step,), None), "torch": np.arange(256, dtype=np.uint8)}],
    }


def write_file(run: Path, step: int) -> Path:
    """Write ``ep0-baN-rank0.pt`` and the link to it; return the file."""
    run.mkdir(parents=True, exist_ok=True)
    checkpoint = run / f"ep0-ba{step}-rank0.pt"
    write_torch_file(checkpoint, state_at(step))
    link = run / "latest-rank0.pt"
    link.unlink(missing_ok=True)
    link.symlink_to(checkpoint.name)
    return checkpoint


def write_sharded(run: Path, step: int) -> Path:
    """Write ``ep0-baN`` of FSDP's shards."""
    checkpoint = run / f"ep0-ba{step}"
    moments = optimizer_at(step)["state"]
    tensors = {f"state.model.{name}": array for name, array in weights_at(step).items()}
    for number, name in enumerate(SHAPES):
        for kind, array in moments[number].items():
            tensors[f"state.optimizers.DecoupledAdamW.state.{name}.{kind}"] = array
    objects = {
        "state.timestamp.Timestamp.batch": step,
        "state.timestamp.Timestamp.epoch": 0,
        "state.run_name": "run",
        "rng.0.python": (3, (step,), None),
    }
    write_dcp(checkpoint, tensors, objects)
    return checkpoint


BUILDERS: dict[str, Callable[[Path, int], Path]] = {
    "composer": write_file,
    "composer-sharded": write_sharded,
}
