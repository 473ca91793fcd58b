"""``python -m resume_daemon.demo.trainer``: a small trainer that behaves as transformers' does.

It learns for real, saves and resumes Hugging Face checkpoints, keeps a curriculum beside them and
logs to W&B without a network. With ``--die-while-saving`` it kills itself halfway through a save.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resume_daemon.demo.curriculum import load_curriculum
from resume_daemon.demo.learning import Training, fresh_training, train_step
from resume_daemon.demo.resuming import load_checkpoint
from resume_daemon.demo.saving import checkpoint_files

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from resume_daemon.demo.saving import Log

PAUSES_PER_STEP = 2
"""Files that are written in the time of one step, so that a save can be watched."""


def train(
    output: Path,
    *,
    until: int,
    steps: int,
    save_steps: int,
    resume_from: Path | None = None,
    seconds_per_step: float = 0.0,
    die_while_saving: int | None = None,
    log: Callable[[Mapping[str, Any]], None],
) -> Training:
    """Train, save and log; return what was learned.

    Args:
        output: The run directory.
        until: The last step.
        steps: Length of the learning rate's schedule, in steps.
        save_steps: Steps between two saves.
        resume_from: A checkpoint, or None to begin anew. The curriculum is taken from the run
            either way, however far it has come: real callbacks do the same.
        seconds_per_step: How long a step takes, and a save per two files.
        die_while_saving: Step whose save is cut off by SIGKILL, in the middle of a file.
        log: Takes a row for the tracker.
    """
    training, history = (
        load_checkpoint(resume_from) if resume_from is not None else (fresh_training(), [])
    )
    curriculum = load_curriculum(output)
    while training.step < until:
        begun = time.monotonic()
        result = train_step(training, stage=curriculum.stage, steps=steps)
        time.sleep(seconds_per_step)
        log({"profiling/Time taken: training_step": time.monotonic() - begun})
        step = training.step
        entry = {
            "epoch": step / steps,
            "grad_norm": result.gradient_norm,
            "learning_rate": result.learning_rate,
            "loss": result.loss,
        }
        history.append({**entry, "step": step})
        log({**{f"train/{key}": entry[key] for key in entry}, "train/global_step": step})
        curriculum.record(step, result.performance, result.loss)
        curriculum.save(output)
        _say(f"step {step}: loss {result.loss:.3f}, {result.performance:.0%} of guesses right")
        if step % save_steps == 0:
            _save(
                output / f"checkpoint-{step}",
                training,
                history,
                steps=steps,
                save_steps=save_steps,
                pause=seconds_per_step / PAUSES_PER_STEP,
                die=step == die_while_saving,
            )
    return training


def _save(
    directory: Path,
    training: Training,
    history: Log,
    *,
    steps: int,
    save_steps: int,
    pause: float,
    die: bool,
) -> None:
    # As with transformers, a checkpoint of the same step is overwritten file by file.
    directory.mkdir(exist_ok=True)
    for name, content in checkpoint_files(training, history, steps=steps, save_steps=save_steps):
        if die and name == "optimizer.pt":
            (directory / name).write_bytes(content[: len(content) // 2])
            _say(f"killed while writing {directory.name}/{name}")
            os.kill(os.getpid(), signal.SIGKILL)
        (directory / name).write_bytes(content)
        time.sleep(pause)
    _say(f"saved {directory.name}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Train as the command line says, with W&B's offline mode as the tracker."""
    options = _parser().parse_args(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    run = _start_wandb(options.output, options.wandb_id)
    train(
        options.output,
        until=options.until,
        steps=options.steps,
        save_steps=options.save_steps,
        resume_from=options.resume_from,
        seconds_per_step=options.seconds_per_step,
        die_while_saving=options.die_while_saving,
        log=run.log,
    )
    run.finish()


def _start_wandb(output: Path, run_id: str) -> Any:
    """Start W&B as transformers' ``WandbCallback.setup`` does (``integration_utils.py``)."""
    os.environ |= {
        "WANDB_MODE": "offline",
        "WANDB_DIR": str(output),
        "WANDB_RUN_ID": run_id,
        "WANDB_RESUME": "allow",
        "WANDB_SILENT": "true",
        # Rows reach the disk within a second (wandb 0.31 and newer), not within fifteen.
        "WANDB__TRANSACTION_LOG_FLUSH_INTERVAL": "1",
    }
    import wandb  # noqa: PLC0415 - it reads the environment, and takes a moment

    run = wandb.init(project="resume-daemon-demo", settings=wandb.Settings(console="off"))
    run.define_metric("train/global_step")
    run.define_metric("*", step_metric="train/global_step", step_sync=True)
    return run


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="resume_daemon.demo.trainer", description=__doc__)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--steps", type=int, required=True, help="length of the schedule")
    parser.add_argument("--until", type=int, required=True, help="the last step of this process")
    parser.add_argument("--save-steps", type=int, required=True)
    parser.add_argument("--resume-from", type=Path, help="a checkpoint; otherwise begin anew")
    parser.add_argument("--wandb-id", required=True)
    parser.add_argument("--seconds-per-step", type=float, default=0.0)
    parser.add_argument("--die-while-saving", type=int, metavar="STEP")
    return parser


if __name__ == "__main__":
    main()
