"""A real training in torch, for ``training_interference.py``: run as a process of its own.

A small network whose steps take about 20 ms on two cores, which reads each batch from a file on the
disk and saves a checkpoint now and then. The moment of every step goes to stdout.

Run: ``python _training_loop.py DIRECTORY THREADS``; it ends when it is killed.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import torch

WIDTH = 1024
BATCH = 256
SAMPLES = 64 * 1024
"""256 MiB of float32: more than a processor's caches, less than any machine's memory."""

SAVE_EVERY = 200


def main(directory: Path, threads: int) -> None:
    """Train until killed."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    data = directory / "data.bin"
    with data.open("wb") as stream:
        random = np.random.default_rng(0)
        for _ in range(SAMPLES // BATCH):
            stream.write(random.standard_normal((BATCH, WIDTH), dtype=np.float32).tobytes())
    model = torch.nn.Sequential(
        *(layer for _ in range(2) for layer in (torch.nn.Linear(WIDTH, WIDTH), torch.nn.ReLU())),
        torch.nn.Linear(WIDTH, 1),
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    step = 0
    with data.open("rb", buffering=0) as stream:
        while True:
            stream.seek(step % (SAMPLES // BATCH) * BATCH * WIDTH * 4)
            raw = bytearray(BATCH * WIDTH * 4)
            stream.readinto(raw)
            batch = torch.frombuffer(raw, dtype=torch.float32).view(BATCH, WIDTH)
            loss = model(batch).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
            if step % SAVE_EVERY == 0:
                torch.save(model.state_dict(), directory / "checkpoint.pt")
            print(time.monotonic(), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
