"""Which lines of a trainer's log tell of something, and of what. Data, not code."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

SHIPPED: Mapping[str, str] = {
    # The field guide watches for these four, in the words of qhy991/GRPO-Clean-2 (its resume guide
    # and Docs/WANDB_RESUME_GUIDE.md); beside them stand the English words for the same.
    "configuration-sync": (
        r"同步长度配置|长度配置已?同步|(?i:sync\w*\b.{0,30}\blength\b.{0,20}\bconfig)"
    ),
    "wandb-resume": r"WandB\s*(自动)?恢复|wandb: Resuming run|WANDB_RESUME=",
    "curriculum-stage": (
        r"课程学习.{0,40}阶段|阶段变更|成功进阶|"
        r"(?i:curriculum.{0,60}\b(advanc\w+|stage \d+ ?(->|to))|advanc\w+ to (the next )?stage)"
    ),
    "checkpoint-loading": (
        # transformers trainer.py: _load_from_checkpoint and _inner_training_loop.
        r"Loading model from \S*checkpoint|Continuing training from (checkpoint|global step)|"
        r"检测到checkpoint恢复|从.{0,40}(检查点|checkpoint).{0,20}恢复|"
        r"(?i:(resum|restor)\w+ (training )?from .{0,40}checkpoint)"
    ),
    "out-of-memory": (
        # torch c10/cuda/CUDACachingAllocator.cpp; the kernel's own words; Slurm's.
        r"(CUDA|HIP|MPS|NPU)( backend)? out of memory|OutOfMemoryError|"
        r"Out of memory: Killed process|oom[-_]kill|Exceeded job memory limit"
    ),
    "nccl-timeout": (
        # torch torch/csrc/distributed/c10d/ProcessGroupNCCL.cpp.
        r"Watchdog caught collective operation timeout|NCCL operations have failed or timed out|"
        r"(NCCL|HCCL|RCCL).{0,60}(timed out|timeout)"
    ),
}
"""Event by regular expression; the first that is found in a line counts."""

TRACEBACK = "traceback"
"""Told from the line that ends a traceback, which names the exception; it has no expression."""


def compiled(more: Mapping[str, str]) -> dict[str, re.Pattern[str]]:
    """Return the expressions by event: those of the configuration first, and in place of ours."""
    return {name: re.compile(text) for name, text in {**more, **SHIPPED, **more}.items() if text}
