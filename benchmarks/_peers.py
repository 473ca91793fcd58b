"""Peers that verify a part of what we do, each as its own documentation says to use it.

Every function returns a timer, or None where the peer is not installed; ``make bench`` installs
them. Imports are not timed.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

from benchmarks._harness import in_process

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def are_installed(*names: str) -> bool:
    """Return whether all packages can be imported."""
    return all(importlib.util.find_spec(name) is not None for name in names)


def safe_open_and_isfinite(path: Path) -> Callable[[], float] | None:
    """Return the timer of the plain way to look at the values of a safetensors file."""
    if not are_installed("torch", "safetensors"):
        return None
    import torch  # noqa: PLC0415 - heavy, and only where it is installed
    from safetensors import safe_open  # noqa: PLC0415 - as above

    def work() -> None:
        with safe_open(path, "pt") as file:
            for name in file.keys():  # noqa: SIM118 - it is no mapping
                if not torch.isfinite(file.get_tensor(name)).all():
                    raise SystemExit(f"{name} is not finite: the peer is used wrongly")

    return in_process(work)


def load_and_isfinite(path: Path) -> Callable[[], float] | None:
    """Return the timer of loading a torch file and looking at its values."""
    if not are_installed("torch"):
        return None
    import torch  # noqa: PLC0415 - heavy, and only where it is installed

    def work() -> None:
        for name, tensor in torch.load(path, weights_only=True).items():
            if not torch.isfinite(tensor).all():
                raise SystemExit(f"{name} is not finite: the peer is used wrongly")

    return in_process(work)


def model_signing_digest(folder: Path, algorithm: str | None) -> Callable[[], float] | None:
    """Return the timer of the digests that are signed; None takes its default, SHA-256."""
    # It imports pyOpenSSL (1.1.1) and does not say so in its requirements.
    if not are_installed("model_signing", "OpenSSL"):
        return None
    from model_signing import hashing  # noqa: PLC0415 - heavy, and only where it is installed

    def work() -> None:
        config = hashing.Config()
        if algorithm is not None:
            config = config.use_file_serialization(hashing_algorithm=algorithm)
        config.hash(folder)

    return in_process(work)


def picklescan(path: Path) -> Callable[[], float] | None:
    """Return the timer of a look at the pickle in a torch file; it reads nothing of the values."""
    if not are_installed("picklescan"):
        return None
    from picklescan.scanner import scan_file_path  # noqa: PLC0415 - only where it is installed

    def work() -> None:
        if scan_file_path(path).issues_count:
            raise SystemExit("what was made has no dangerous pickle: the peer is used wrongly")

    return in_process(work)


def save_as_torch_file(weights: Path, path: Path) -> bool:
    """Save the tensors of a safetensors file with ``torch.save``; return whether torch is there."""
    if not are_installed("torch", "safetensors"):
        return False
    import torch  # noqa: PLC0415 - heavy, and only where it is installed
    from safetensors.torch import load_file  # noqa: PLC0415 - as above

    torch.save(load_file(weights), path)
    return True
