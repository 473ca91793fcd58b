"""What W&B's local logs of a run hold under the keys of a curriculum's history."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from resume_daemon.errors import ResumeDaemonError
from resume_daemon.trackers.attribution import belonging
from resume_daemon.trackers.wandb_discovery import find_wandb_directories, segment_run_id
from resume_daemon.trackers.wandb_local import STEP_KEYS, list_segments
from resume_daemon.trackers.wandb_log import read_log
from resume_daemon.trackers.wandb_records import HistoryRow, WireError, decode_record, whole_number

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_NAMES = (
    "{}",
    "train/{}",
    "eval/{}",
    "curriculum/{}",
    "curriculum/current_{}",
    "curriculum/current_{}_idx",
    "curriculum/latest_{}",
)
"""What public trainers call a value of the history when they log it."""

MAX_PIECES = 64
"""Pieces of 4 MiB that are read of one log."""


def tracker_rows(run: Path, keys: Iterable[str]) -> dict[int, dict[str, float]]:
    """Return values by the trainer's step; of rows of one step the first value of a key counts.

    Args:
        run: The run directory.
        keys: Those of the history's entries; looked for under the names that trainers give them.
    """
    names = {name.format(key) for key in keys for name in _NAMES} | set(STEP_KEYS)
    wanted = {name.encode(): name for name in names}
    rows: dict[int, dict[str, float]] = {}
    for directory in find_wandb_directories(run, None, os.environ):
        try:
            segments, doubt = belonging(list_segments(directory.path), run)
        except ResumeDaemonError:
            continue
        for segment in () if doubt else segments:
            log = segment / f"run-{segment_run_id(segment)}.wandb"
            try:
                _read(log, wanted, rows)
            except ResumeDaemonError:
                continue  # What it holds is not known, and nothing is made up.
    return rows


def _read(log: Path, wanted: dict[bytes, str], rows: dict[int, dict[str, float]]) -> None:
    offset = 0
    for _ in range(MAX_PIECES):
        piece = read_log(log, offset)
        for payload, _end in piece.records:
            try:
                record = decode_record(payload, wanted)
            except WireError:
                continue
            if not isinstance(record, HistoryRow):
                continue
            stated = next((record.values[k] for k in STEP_KEYS if k in record.values), None)
            step = whole_number(stated) if stated is not None else None
            if step:
                row = rows.setdefault(step, {})
                for key, value in record.values.items():
                    row.setdefault(key, value)
        if not piece.more or piece.offset == offset:
            return
        offset = piece.offset
