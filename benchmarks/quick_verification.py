"""How long does ``verify --quick`` of a checkpoint with 1,000 shards take, and does size matter?

The shards are sparse: they have headers and sizes, and no bytes on the disk. The same checkpoint is
made with shards of 1 MiB and of 1 GiB; a quick verification reads headers, so both must take the
same. The peer reads the same headers with ``safetensors`` and nothing else.

Run: ``python benchmarks/quick_verification.py [--shards 1000] [--tensors 12] [--rounds 5]``.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import shutil
import statistics
import struct
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks._daemon import publish
from benchmarks._harness import Side, compare, in_process, whole_process
from resume_daemon.verification import Depth, Options, verify
from tests.checkpoints import write_checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable

MIB = 1 << 20
SMALL = "1 MiB each, in process"
LARGE = "1 GiB each, in process"
HALF = "half as many of 1 GiB, in process"
WHOLE = "1 GiB each, whole process"
PEER = "peer: safetensors, headers of 1 GiB each"


def main() -> None:
    """Make the checkpoints, let the sides take turns, print and keep the figures."""
    parser = argparse.ArgumentParser(description="Benchmark of quick verification.")
    parser.add_argument("--shards", type=int, default=1000)
    parser.add_argument("--tensors", type=int, default=12, help="in each shard")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--directory", type=Path, help="where they are made (default: temporary)")
    arguments = parser.parse_args()
    count, tensors = arguments.shards, arguments.tensors
    with tempfile.TemporaryDirectory(dir=arguments.directory) as directory:
        root = Path(directory)
        small = write_sharded(root / "small", count, tensors, MIB)
        large = write_sharded(root / "large", count, tensors, 1024 * MIB)
        half = write_sharded(root / "half", count // 2, tensors, 1024 * MIB)
        program = shutil.which("resume-daemon", path=str(Path(sys.executable).parent))
        command = [program] if program else [sys.executable, "-m", "resume_daemon"]
        sides = (
            Side(SMALL, in_process(lambda: check(small))),
            Side(LARGE, in_process(lambda: check(large))),
            Side(HALF, in_process(lambda: check(half))),
            Side(WHOLE, whole_process(*command, "verify", "--quick", str(large))),
            Side(PEER, peer(large), "pip install safetensors"),
        )
        found = compare(sides, rounds=arguments.rounds, before_each=lambda: None)
    median = {name: statistics.median(seconds) for name, seconds in found.items()}
    size = [b / a for a, b in zip(found[SMALL], found[LARGE], strict=True)]
    files = [b / a for a, b in zip(found[HALF], found[LARGE], strict=True)]
    publish(
        "quick_verification",
        [
            (f"{count} shards of {tensors} tensors, {SMALL}", median[SMALL], "s", 1.0),
            (f"{count} shards of {tensors} tensors, {LARGE}", median[LARGE], "s", 1.0),
            (f"{count} shards of {tensors} tensors, {WHOLE}", median[WHOLE], "s", None),
            ("1024 times the bytes take so many times as long", statistics.median(size), "", 1.2),
            ("twice the files take so many times as long", statistics.median(files), "", 2.4),
            (PEER, median.get(PEER), "s", None),
        ],
    )


def check(checkpoint: Path) -> None:
    """Verify it quickly; what was made must be sound."""
    result = verify(checkpoint, boundary=checkpoint.parent, options=Options(depth=Depth.QUICK))
    if result.verdict.value != "sound":
        raise SystemExit(f"what was made is {result.verdict}: {result.findings[:3]}")


def write_sharded(run: Path, shards: int, tensors: int, size: int) -> Path:
    """Write a Hugging Face checkpoint whose weights are sparse shards of ``size`` bytes."""
    checkpoint = write_checkpoint(run, 5)
    (checkpoint / "model.safetensors").unlink()
    weights: dict[str, str] = {}
    count = size // 2 // tensors
    for number in range(shards):
        file = f"model-{number + 1:05d}-of-{shards:05d}.safetensors"
        names = [f"model.layers.{number}.part.{place}.weight" for place in range(tensors)]
        weights.update(dict.fromkeys(names, file))
        header = {
            name: {
                "dtype": "BF16",
                "shape": [count],
                "data_offsets": [place * count * 2, (place + 1) * count * 2],
            }
            for place, name in enumerate(names)
        }
        encoded = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
        encoded += b" " * (-len(encoded) % 8)
        with (checkpoint / file).open("wb") as stream:
            stream.write(struct.pack("<Q", len(encoded)) + encoded)
            stream.truncate(8 + len(encoded) + tensors * count * 2)
    index = {"metadata": {"total_size": shards * tensors * count * 2}, "weight_map": weights}
    (checkpoint / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    return checkpoint


def peer(checkpoint: Path) -> Callable[[], float] | None:
    """Return the timer of reading every header and no more, where safetensors is installed."""
    if importlib.util.find_spec("safetensors") is None:
        return None
    from safetensors import safe_open  # noqa: PLC0415 - only where it is installed

    def work() -> None:
        for path in sorted(checkpoint.glob("*.safetensors")):
            with safe_open(path, "np") as file:
                for name in file.keys():  # noqa: SIM118 - it is no mapping
                    file.get_slice(name).get_shape()

    return in_process(work)


if __name__ == "__main__":
    main()
