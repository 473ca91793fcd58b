"""Checkpoints of OpenRLHF: DeepSpeed's in ``_actor``, with metrics and the data's position."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.checkpoints import write_json
from tests.layouts.deepspeed import write_tag

if TYPE_CHECKING:
    from pathlib import Path


def write_actor(run: Path, step: int) -> Path:
    """Write a tag below ``_actor``."""
    checkpoint = run / "_actor" / f"global_step{step}"
    client = {"episode": 0, "global_step": step, "data_loader_state_dict": {"position": 8 * step}}
    write_tag(checkpoint, step, 2, **client)
    write_json(checkpoint / "metric.json", {"metric_key": "reward", "metric_value": step / 100})
    (checkpoint.parent / "latest").write_text(checkpoint.name)
    return checkpoint


BUILDERS = {"openrlhf": write_actor}
