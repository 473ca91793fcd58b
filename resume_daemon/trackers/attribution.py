"""Which W&B runs of a shared directory belong to this run directory.

A project folder often has one ``wandb/`` for all of its runs. transformers hands its whole
arguments to W&B, ``output_dir`` among them (``integration_utils.py: WandbCallback.setup``), and
every trainer's command line is in the environment record; so the first records of a log usually
name the directory.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from resume_daemon.errors import ResumeDaemonError
from resume_daemon.trackers.wandb_discovery import segment_run_id
from resume_daemon.trackers.wandb_log import read_log

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

FIRST_BYTES = 256 * 1024
"""How much of a log is searched: the configuration stands at its beginning."""

_HISTORY = 0x12
_SUMMARY = 0x1A
"""First byte of a record's payload that is a history or summary record (protobuf tags 2 and 3)."""


def belonging(segments: Sequence[Path], run: Path) -> tuple[list[Path], str]:
    """Return the segments that belong to a run, and why that is not certain, if it is not.

    Args:
        segments: Candidates, in the order in which they started.
        run: The run directory.
    """
    ids = {segment: segment_run_id(segment) for segment in segments}
    distinct = {run_id for run_id in ids.values() if run_id is not None}
    if len(distinct) <= 1:
        return list(segments), ""
    named = {ids[segment] for segment in segments if _names(segment, run)}
    if named:
        return [segment for segment in segments if ids[segment] in named], ""
    newest = next(ids[s] for s in reversed(segments) if ids[s] is not None)
    why = (
        f"{len(distinct)} W&B runs were written since this run began and none of them names "
        f"{run.name}; following the newest, {newest}. Set trackers.wandb.run_id to be certain."
    )
    return [segment for segment in segments if ids[segment] == newest], why


def _names(segment: Path, run: Path) -> bool:
    """Return whether a record other than a row of history names the run directory."""
    run_id = segment_run_id(segment)
    try:
        piece = read_log(segment / f"run-{run_id}.wandb", 0, FIRST_BYTES)
    except ResumeDaemonError:
        return False
    name = os.fsencode(run.name)
    return any(
        name in payload
        for payload, _ in piece.records
        if payload and _tag(payload) not in {_HISTORY, _SUMMARY}
    )


def _tag(payload: bytes) -> int:
    """Return the tag of the record's content; ``num`` (tag 8) comes first where it is not zero."""
    if payload[0] != 0x08:  # noqa: PLR2004 - the tag of field 1, a varint
        return payload[0]
    position = 1
    while position < len(payload) and payload[position] & 0x80:
        position += 1
    return payload[position + 1] if position + 1 < len(payload) else 0
