"""Checkpoints of slime: Megatron's, and the state of the prompts beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.layouts.megatron import published
from tests.layouts.megatron_dist import write_dist
from tests.torch_files import write_torch_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def write_slime(run: Path, step: int, *, common: bool = False) -> Path:
    """Write a rollout's checkpoint in the order of slime: shards, tracker, state of the prompts."""
    checkpoint = run / f"iter_{step:07d}"
    write_dist(checkpoint, step, common=common)
    published(checkpoint, step)
    (run / "rollout").mkdir(exist_ok=True)
    state = {"sample_offset": 8 * step, "epoch_id": 0, "sample_index": 64 * step, "metadata": {}}
    write_torch_file(run / f"rollout/global_dataset_state_dict_{step}.pt", state)
    return checkpoint


def write_slime_common(run: Path, step: int) -> Path:
    """Write the same as before core 0.19 of Megatron, with ``common.pt``."""
    return write_slime(run, step, common=True)


BUILDERS: dict[str, Callable[[Path, int], Path]] = {
    "slime": write_slime,
    "slime-common": write_slime_common,
}
