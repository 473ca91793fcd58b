"""How fast every byte of a large weights file is verified, beside tools that do a part of it.

Ours computes the BLAKE3 digest and looks at every value for NaN, infinity and the largest
magnitude, in one pass. ``b3sum`` computes the same digest and nothing else, over a mapped file and
with all cores; ``b3sum --no-mmap`` reads as we do, with one thread. ``safetensors`` with
``torch.isfinite`` looks at the values and computes no digest; its imports are not timed.

Run: ``python benchmarks/deep_verification.py [--gib 2] [--rounds 5] [--directory DIR]``.
The exit status does not depend on the figures.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import shutil
import struct
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks._harness import (
    Side,
    Target,
    compare,
    in_process,
    report,
    warm_page_cache,
    whole_process,
)
from resume_daemon.formats.tensors import TensorSpan
from resume_daemon.reading.scan import ReadOptions, scan_file

if TYPE_CHECKING:
    from collections.abc import Callable

TENSORS = 8
BLOCK = 1 << 24

OURS = "resume-daemon, in process"
OURS_WHOLE = "resume-daemon, whole process"
B3SUM = "b3sum"
B3SUM_READ = "b3sum --no-mmap"
SHA256SUM = "sha256sum"
TORCH = "safetensors + torch.isfinite"

TARGETS = (
    Target(OURS, B3SUM, 0.45),
    Target(OURS, B3SUM_READ, 1.2),
    Target(OURS, TORCH, 5.0),
)


def main() -> None:
    """Make the file, let the sides take turns, print and keep the figures."""
    parser = argparse.ArgumentParser(description="Benchmark of deep verification.")
    parser.add_argument("--gib", type=float, default=2.0, help="size of the file")
    parser.add_argument("--rounds", type=int, default=5, help="rounds that are counted")
    parser.add_argument("--workers", type=int, default=2, help="our workers")
    parser.add_argument(
        "--directory", type=Path, help="where the file is made (default: temporary)"
    )
    parser.add_argument("--scan", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    options = ReadOptions(workers=arguments.workers)
    if arguments.scan:
        scan(arguments.scan, options)
        return
    with tempfile.TemporaryDirectory(dir=arguments.directory) as directory:
        path = Path(directory) / "model.safetensors"
        write_safetensors(path, int(arguments.gib * (1 << 30)))
        again = ("--workers", str(arguments.workers), "--scan", str(path))
        sides = (
            Side(OURS, in_process(lambda: scan(path, options))),
            Side(OURS_WHOLE, whole_process(sys.executable, __file__, *again)),
            command_side(B3SUM, path, "apt-get install b3sum"),
            command_side(B3SUM_READ, path, "apt-get install b3sum"),
            command_side(SHA256SUM, path, "apt-get install coreutils"),
            Side(TORCH, torch_peer(path), "pip install torch safetensors"),
        )
        found = compare(sides, rounds=arguments.rounds, before_each=lambda: warm_page_cache(path))
        report("deep_verification", sides, found, TARGETS, size=path.stat().st_size)


def scan(path: Path, options: ReadOptions) -> None:
    """Verify the file as the daemon does."""
    found = scan_file(path, spans=spans_of(path), options=options, cancelled=lambda: False)
    if any(tensor.nan or tensor.infinite or not tensor.largest for tensor in found.tensors):
        raise SystemExit("the file that was made is not finite: the scan is wrong")


def command_side(command: str, path: Path, install: str) -> Side:
    """Return the side of a command line with the file as its last argument."""
    program, *flags = command.split()
    found = shutil.which(program)
    return Side(command, whole_process(found, *flags, str(path)) if found else None, install)


def torch_peer(path: Path) -> Callable[[], float] | None:
    """Return the timer of the plain way to look at values, where torch is installed."""
    if any(importlib.util.find_spec(name) is None for name in ("torch", "safetensors")):
        return None
    import torch  # noqa: PLC0415 - heavy, and only where it is installed
    from safetensors import safe_open  # noqa: PLC0415 - as above

    def work() -> None:
        with safe_open(path, "pt") as file:
            for name in file.keys():  # noqa: SIM118 - it is no mapping
                if not torch.isfinite(file.get_tensor(name)).all():
                    raise SystemExit(f"{name} is not finite: the peer is used wrongly")

    return in_process(work)


def write_safetensors(path: Path, size: int) -> None:
    """Write bf16 tensors of normally distributed values, about ``size`` bytes in all."""
    count = max(size // TENSORS // 2, 1)
    header = {
        f"layers.{number}.weight": {
            "dtype": "BF16",
            "shape": [count],
            "data_offsets": [number * count * 2, (number + 1) * count * 2],
        }
        for number in range(TENSORS)
    }
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)
    random = np.random.default_rng(0)
    with path.open("wb") as stream:
        stream.write(struct.pack("<Q", len(encoded)) + encoded)
        left = count * TENSORS
        while left:
            values = random.standard_normal(min(left, BLOCK), dtype=np.float32)
            # The upper half of a float32 is its value as bfloat16, rounded towards zero.
            stream.write((values.view("<u4") >> 16).astype("<u2").tobytes())
            left -= len(values)


def spans_of(path: Path) -> list[TensorSpan]:
    """Return the tensors of the file that was just written."""
    with path.open("rb") as stream:
        (length,) = struct.unpack("<Q", stream.read(8))
        header = json.loads(stream.read(length))
    return [
        TensorSpan(
            name,
            entry["dtype"],
            tuple(entry["shape"]),
            *(8 + length + offset for offset in entry["data_offsets"]),
        )
        for name, entry in header.items()
    ]


if __name__ == "__main__":
    main()
