"""How long does ``ResumeDaemonCallback`` take per step of a training?

Its hooks are called by transformers' own callback handler, with a curriculum of 1,000 evaluations
and a save every 500 steps; the peer is transformers' ``TrainerCallback``, which does nothing. A
training with W&B adds one question to W&B per save, which is not in here.

Run: ``python benchmarks/callback_cost.py [--rounds 5] [--steps 20000]``.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from transformers import (
    DefaultFlowCallback,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.trainer_callback import CallbackHandler

from benchmarks._daemon import publish
from resume_daemon.integrations.transformers import ResumeDaemonCallback

SAVE_STEPS = 500


def main() -> None:
    """Print the time per step of both."""
    parser = argparse.ArgumentParser(description="What the callback costs per step.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20_000)
    arguments = parser.parse_args()
    history = [{"step": n, "performance": 0.5, "stage": 1} for n in range(1_000)]
    ours: list[float] = []
    peer: list[float] = []
    with tempfile.TemporaryDirectory() as directory:
        for _ in range(arguments.rounds):
            callback = ResumeDaemonCallback(lambda: {"current_stage": 1, "history": history})
            ours.append(seconds_per_step(callback, directory, arguments.steps))
            peer.append(seconds_per_step(TrainerCallback(), directory, arguments.steps))
    ms = statistics.median(ours) * 1e3
    publish(
        "callback_cost",
        [
            ("a step with the callback, median of rounds", ms, "ms", 0.1),
            ("a step with an empty callback", statistics.median(peer) * 1e3, "ms", None),
        ],
    )


def seconds_per_step(callback: TrainerCallback, directory: str, steps: int) -> float:
    """Return the mean time that a step's hooks take."""
    args = TrainingArguments(output_dir=directory, report_to="none", use_cpu=True)
    state, control = TrainerState(max_steps=steps + 1), TrainerControl()
    nothing: Any = None
    handler = CallbackHandler([DefaultFlowCallback(), callback], nothing, nothing, nothing, nothing)
    handler.on_train_begin(args, state, control)
    begin = time.perf_counter()
    for step in range(1, steps + 1):
        state.global_step = step
        control = handler.on_step_begin(args, state, control)
        control.should_save = step % SAVE_STEPS == 0
        control = handler.on_step_end(args, state, control)
        control = handler.on_log(args, state, control, {"loss": 0.5})
        if control.should_save:
            control = handler.on_save(args, state, control)
    return (time.perf_counter() - begin) / steps


if __name__ == "__main__":
    main()
