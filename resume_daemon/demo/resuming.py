"""Resuming: a checkpoint back into training, to the last bit. Nothing is unpickled."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from resume_daemon.demo.learning import Array, Moments, Training
from resume_daemon.demo.random_states import restore_random_states
from resume_daemon.formats.json_document import read_json
from resume_daemon.formats.safetensors import read_header
from resume_daemon.formats.torch_file import read_torch_file

if TYPE_CHECKING:
    from pathlib import Path

    from resume_daemon.demo.saving import Log


def load_checkpoint(directory: Path) -> tuple[Training, Log]:
    """Return the training that a checkpoint holds, and its log.

    Raises:
        FormatError: A file is not what its format promises.
        VanishedError: A file is missing.
    """
    weights = _saved_weights(directory / "model.safetensors")
    moments = _saved_tensors(directory / "optimizer.pt")
    optimizer = {
        name: Moments(*(moments[f"state.{number}.{kind}"] for kind in Moments.__slots__))
        for number, name in enumerate(weights)
    }
    state = read_json(directory / "trainer_state.json")
    schedule = read_torch_file(directory / "scheduler.pt").value
    training = Training(weights, optimizer, state["global_step"], schedule["last_epoch"])
    random_states = read_torch_file(directory / "rng_state.pth").value
    cpu = _saved_tensors(directory / "rng_state.pth")["cpu"]
    restore_random_states(training, random_states, cpu.tobytes())
    return training, state["log_history"]


def _saved_weights(path: Path) -> dict[str, Array]:
    return {
        span.name: np.fromfile(
            path, np.float32, span.size // np.float32().itemsize, offset=span.begin
        ).reshape(span.shape)
        for span in read_header(path).tensors
    }


def _saved_tensors(path: Path) -> dict[str, Array]:
    found: dict[str, Array] = {}
    for name, tensor in read_torch_file(path).tensors.items():
        if tensor.span is not None:
            kind = np.uint8 if tensor.dtype == "U8" else np.float32
            values = np.fromfile(path, kind, tensor.elements, offset=tensor.span.begin)
            found[name] = values.reshape(tensor.shape)
    return found
