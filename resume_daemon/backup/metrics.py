"""How good the trainer found a checkpoint, by what it wrote into its own state."""

from __future__ import annotations

import math
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from resume_daemon.errors import ResumeDaemonError
from resume_daemon.formats.json_document import read_json
from resume_daemon.layouts.huggingface import TRAINER_STATE

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

BEST = "best_metric"
"""The value that made a checkpoint the best so far when it was saved; only those have it."""

_MOST = 200
"""Metrics that are kept of a checkpoint."""

_NO_METRICS = frozenset({"step", "epoch"})


def read_metrics(checkpoint: Path) -> dict[str, float]:
    """Return what the trainer had logged of a checkpoint; nothing where it keeps no such state."""
    try:
        return metrics_of(read_json(checkpoint / TRAINER_STATE), checkpoint.name)
    except ResumeDaemonError:
        return {}  # The verification says what is wrong with it.


def metrics_of(state: Any, checkpoint: str) -> dict[str, float]:
    """Return the last finite value of every logged metric, and ``BEST`` where it was the best.

    Args:
        state: What ``trainer_state.json`` holds, which may be anything.
        checkpoint: The checkpoint's name.
    """
    if not isinstance(state, dict):
        return {}
    found: dict[str, float] = {}
    step, history = state.get("global_step"), state.get("log_history")
    for row in history if isinstance(history, list) else ():
        if not isinstance(row, dict) or not _is_at_most(row.get("step"), step):
            continue
        for name, value in row.items():
            number = _number(value)
            room = name in found or len(found) < _MOST
            if number is not None and room and name not in _NO_METRICS:
                found[str(name)] = number
    found.pop(BEST, None)
    best = state.get("best_model_checkpoint")
    its_own = isinstance(best, str) and PurePosixPath(best).name == checkpoint
    if its_own and (number := _number(state.get(BEST))) is not None:
        found[BEST] = number
    return found


def metric_for(metrics: Mapping[str, float], name: str | None, saved_ns: int) -> float | None:
    """Return how good a checkpoint is by the policy's metric; None where that is not known.

    Args:
        metrics: What is known of it.
        name: The metric; None for the one that the trainer itself chose by. Then only those that
            were the best when they were saved have a value, and a later one was better.
        saved_ns: When it was saved.
    """
    if name is None:
        return saved_ns / 1e9 if BEST in metrics else None
    return metrics.get(name)


def greater_is_better(name: str | None, configured: bool | None) -> bool:
    """Return whether a greater metric is better: as transformers has it where nothing is said.

    Of a metric whose name ends in ``loss`` a lower one is (``TrainingArguments.__post_init__``).
    """
    if name is None:
        return True  # By the time at which each was the best.
    return not name.endswith("loss") if configured is None else configured


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _is_at_most(step: Any, most: Any) -> bool:
    """Return whether a row is of the checkpoint's own past; what cannot be told is."""
    if not isinstance(step, int) or not isinstance(most, int):
        return True
    return step <= most
