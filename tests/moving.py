"""Runs whose weights move from step to step as training moves them, with the real files."""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING

import numpy as np

from tests.checkpoints import SHAPES, write_checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from tests.checkpoints import Weights

STEPS = (5, 10, 15)
TYPES = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}


def trained(step: int, rate: float = 1e-5) -> Weights:
    """Return weights that began at one place and moved by up to ``rate`` at each step."""
    weights: Weights = {}
    for number, (name, shape) in enumerate(SHAPES.items()):
        random = np.random.default_rng(number)
        begin, direction = random.standard_normal(shape) * 0.02, random.uniform(-1, 1, shape)
        weights[name] = (begin + rate * step * direction).astype(np.float32)
    return weights


def encoded(array: np.ndarray[tuple[int, ...], np.dtype[np.float32]], dtype: str) -> bytes:
    """Return values in a type of safetensors; bfloat16 is rounded towards zero."""
    if dtype == "BF16":
        return (array.view("<u4") >> 16).astype("<u2").tobytes()
    return array.astype(TYPES[dtype]).tobytes()


def write_weights(path: Path, weights: Mapping[str, tuple[str, tuple[int, ...], bytes]]) -> None:
    """Write a safetensors file of type, shape and bytes, which numpy need not know."""
    header: dict[str, object] = {}
    content = b""
    for name, (dtype, shape, data) in weights.items():
        offsets = [len(content), len(content) + len(data)]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": offsets}
        content += data
    document = json.dumps(header).encode()
    document = document.ljust(len(document) + -len(document) % 8)
    path.write_bytes(struct.pack("<Q", len(document)) + document + content)


def write_run(
    run: Path,
    at: Callable[[int], Weights] = trained,
    dtype: str = "F32",
    steps: tuple[int, ...] = STEPS,
) -> list[Path]:
    """Write a checkpoint for each step, the newest first, with the weights of ``at``."""
    checkpoints: list[Path] = []
    for step in steps:
        checkpoint = write_checkpoint(run, step)
        write_weights(
            checkpoint / "model.safetensors",
            {n: (dtype, a.shape, encoded(a, dtype)) for n, a in at(step).items()},
        )
        checkpoints.insert(0, checkpoint)
    return checkpoints
