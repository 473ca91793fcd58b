"""Checkpoints of PyTorch Lightning: files, and the directories of FSDP and DeepSpeed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tests.checkpoints import optimizer_at, weights_at
from tests.layouts.dcp import write_dcp
from tests.layouts.deepspeed import write_tag
from tests.torch_files import write_torch_file

if TYPE_CHECKING:
    from pathlib import Path


def epoch_at(step: int) -> int:
    """Return the epoch of a step: ten steps each."""
    return step // 10


def name_at(step: int) -> str:
    """Return the name that the callback gives by itself."""
    return f"epoch={epoch_at(step)}-step={step}.ckpt"


def state_at(step: int) -> dict[str, Any]:
    """Return what Lightning keeps besides model and optimizer; scores begin at infinity."""
    return {
        "epoch": epoch_at(step),
        "global_step": step,
        "pytorch-lightning_version": "2.6.6",
        "loops": {"fit_loop": {"epoch_loop.state_dict": {"_batches_that_stepped": step}}},
        "callbacks": {"EarlyStopping": {"best_score": np.array(np.inf, np.float32)}},
        "lr_schedulers": [{"last_epoch": step, "base_lrs": [1e-3]}],
    }


def write_file(run: Path, step: int) -> Path:
    """Write ``epoch=E-step=N.ckpt``."""
    run.mkdir(parents=True, exist_ok=True)
    path = run / name_at(step)
    value = {
        **state_at(step),
        "state_dict": dict(weights_at(step)),
        "optimizer_states": [optimizer_at(step)],
    }
    write_torch_file(path, value)
    return path


def write_fsdp(run: Path, step: int) -> Path:
    """Write the directory of sharded FSDP."""
    checkpoint = run / name_at(step)
    weights = {f"model.{name}": array for name, array in weights_at(step).items()}
    moments = {
        f"optimizer_0.state.{number}.{kind}": array
        for number, state in optimizer_at(step)["state"].items()
        for kind, array in state.items()
    }
    write_dcp(checkpoint, {**weights, **moments}, {})
    write_torch_file(checkpoint / "meta.pt", state_at(step))
    return checkpoint


def write_deepspeed(run: Path, step: int) -> Path:
    """Write the directory of DeepSpeed."""
    checkpoint = run / name_at(step)
    write_tag(checkpoint / "checkpoint", step, 2, **state_at(step))
    (checkpoint / "latest").write_text("checkpoint")
    (checkpoint / "zero_to_fp32.py").write_text("# DeepSpeed's own script\n")
    return checkpoint


BUILDERS = {
    "lightning": write_file,
    "lightning-fsdp": write_fsdp,
    "lightning-deepspeed": write_deepspeed,
}
