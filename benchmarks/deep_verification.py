"""How fast every byte of a large weights file is verified, beside tools that do a part of it.

Ours computes the BLAKE3 digest and looks at every value for NaN, infinity and the largest
magnitude, in one pass. ``b3sum`` computes the same digest and nothing else, over a mapped file and
with all cores; ``b3sum --no-mmap`` reads as we do, with one thread. ``model_signing`` computes the
digests that it would sign, with SHA-256 by default. ``safetensors`` or ``torch.load`` with
``torch.isfinite`` look at the values and compute no digest. ``picklescan`` looks at the pickle of a
torch file and reads none of its values, so its throughput means nothing. The torch file holds the
same values; imports are not timed.

Run: ``python benchmarks/deep_verification.py [--gib 2] [--rounds 5] [--directory DIR]``.
The exit status does not depend on the figures.
"""

from __future__ import annotations

import argparse
import json
import shutil
import struct
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import _peers
from benchmarks._harness import (
    Side,
    Target,
    compare,
    in_process,
    report,
    warm_page_cache,
    whole_process,
)
from resume_daemon.formats.content import Format
from resume_daemon.formats.registry import read
from resume_daemon.reading.scan import ReadOptions, scan_file

TENSORS = 8
BLOCK = 1 << 24

BENCH = "pip install '.[bench]'"
OURS = "resume-daemon, in process"
OURS_WHOLE = "resume-daemon, whole process"
B3SUM = "b3sum"
B3SUM_READ = "b3sum --no-mmap"
SHA256SUM = "sha256sum"
OURS_TORCH = "resume-daemon, torch file"
SIGNING = "model_signing"
SIGNING_BLAKE3 = "model_signing, blake3"
SAFE_OPEN = "safetensors + torch.isfinite"
LOAD = "torch.load + torch.isfinite"
PICKLESCAN = "picklescan"

TARGETS = (
    Target(OURS, B3SUM, 0.6),
    Target(OURS, B3SUM_READ, 1.5),
    Target(OURS, SIGNING, 1.0),
    Target(OURS, SAFE_OPEN, 1.0),
    Target(OURS_TORCH, LOAD, 1.0),
)
"""Faster than all that look at every byte and its value, and near to those that only hash."""


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
        path = Path(directory) / "safetensors" / "model.safetensors"
        saved = Path(directory) / "model.pt"
        path.parent.mkdir()
        write_safetensors(path, int(arguments.gib * (1 << 30)))
        has_torch = _peers.save_as_torch_file(path, saved)

        def warm() -> None:
            warm_page_cache(path)
            if has_torch:
                warm_page_cache(saved)

        again = ("--workers", str(arguments.workers), "--scan", str(path))
        sides = (
            Side(OURS, in_process(lambda: scan(path, options))),
            Side(OURS_WHOLE, whole_process(sys.executable, __file__, *again)),
            command_side(B3SUM, path, "apt-get install b3sum"),
            command_side(B3SUM_READ, path, "apt-get install b3sum"),
            command_side(SHA256SUM, path, "apt-get install coreutils"),
            Side(SIGNING, _peers.model_signing_digest(path.parent, None), BENCH),
            Side(SIGNING_BLAKE3, _peers.model_signing_digest(path.parent, "blake3"), BENCH),
            Side(SAFE_OPEN, _peers.safe_open_and_isfinite(path), BENCH),
            Side(
                OURS_TORCH,
                in_process(lambda: scan(saved, options)) if has_torch else None,
                BENCH,
            ),
            Side(LOAD, _peers.load_and_isfinite(saved) if has_torch else None, BENCH),
            Side(PICKLESCAN, _peers.picklescan(saved) if has_torch else None, BENCH),
        )
        found = compare(sides, rounds=arguments.rounds, before_each=warm)
        report("deep_verification", sides, found, TARGETS, size=path.stat().st_size)


def scan(path: Path, options: ReadOptions) -> None:
    """Verify the file as the daemon does."""
    form = Format.SAFETENSORS if path.suffix == ".safetensors" else Format.TORCH
    content = read(path, form)
    found = scan_file(
        path,
        spans=content.spans,
        records=content.records,
        options=options,
        cancelled=lambda: False,
    )
    if any(record.expected != record.actual for record in found.records):
        raise SystemExit("the file that was made has wrong checksums: the scan is wrong")
    if any(tensor.nan or tensor.infinite or not tensor.largest for tensor in found.tensors):
        raise SystemExit("the file that was made is not finite: the scan is wrong")


def command_side(command: str, path: Path, install: str) -> Side:
    """Return the side of a command line with the file as its last argument."""
    program, *flags = command.split()
    found = shutil.which(program)
    return Side(command, whole_process(found, *flags, str(path)) if found else None, install)


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


if __name__ == "__main__":
    main()
