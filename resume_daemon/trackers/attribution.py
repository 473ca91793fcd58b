"""Which W&B runs of a shared directory belong to this run directory.

A project folder often has one ``wandb/`` for all of its runs. transformers hands its whole
arguments to W&B, ``output_dir`` among them (``integration_utils.py: WandbCallback.setup``), and
every trainer's command line is in the environment record; so the first records of a log usually
name the directory.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import PurePath
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

_OUTPUT_DIRECTORY = re.compile(rb'[\n\x12]\noutput_dir\x82\x01.{1,2}("(?:[^"\\]|\\.)*")', re.DOTALL)
"""An item of the configuration: its key, then ``value_json`` (field 16) with its length, in JSON
(wandb ``wandb_internal.proto: ConfigItem``)."""


def belonging(segments: Sequence[Path], run: Path) -> tuple[list[Path], str]:
    """Return the segments that belong to a run, and why that is not certain, if it is not.

    Best is a segment whose ``output_dir`` is the run directory, as far as it is given; then one
    whose ``output_dir`` has the run directory's name (a container may see it elsewhere); then one
    that states none, and names the run directory elsewhere. Others of the same W&B run go with it.
    One that states another directory is not followed.

    Args:
        segments: Candidates, in the order in which they started.
        run: The run directory.
    """
    ids = {segment: segment_run_id(segment) for segment in segments}
    distinct = {run_id for run_id in ids.values() if run_id is not None}
    if len(distinct) <= 1:
        return list(segments), ""
    ranks = {segment: _rank(segment, run) for segment in segments if ids[segment] is not None}
    best = max(ranks.values())
    named = [ids[segment] for segment, rank in ranks.items() if rank == best]
    if best > _SILENT:
        return [segment for segment in segments if ids[segment] in named], ""
    if best == _ELSEWHERE:
        return [], (
            f"{len(distinct)} W&B runs were written since this run began, and each states another "
            f"output_dir than {run.name}. Set trackers.wandb.run_id if one of them is this run's."
        )
    newest = named[-1]
    why = (
        f"{len(distinct)} W&B runs were written since this run began and none of them names "
        f"{run.name}; following the newest, {newest}. Set trackers.wandb.run_id to be certain."
    )
    return [segment for segment in segments if ids[segment] == newest], why


_ELSEWHERE, _SILENT, _MENTIONED, _SAME_NAME, _SAME_PLACE = range(5)


def _rank(segment: Path, run: Path) -> int:
    """Return how well what a segment says of its directory fits the run; more is better."""
    run_id = segment_run_id(segment)
    try:
        piece = read_log(segment / f"run-{run_id}.wandb", 0, FIRST_BYTES)
    except ResumeDaemonError:
        return _SILENT
    payloads = [p for p, _ in piece.records if p and _tag(p) not in {_HISTORY, _SUMMARY}]
    for payload in payloads:
        if (found := _OUTPUT_DIRECTORY.search(payload)) is not None:
            return _rank_of_directory(found[1], run)
    # A whole part of a path: run-1 is not named by run-10.
    name = re.compile(rb"(?<![\w.-])" + re.escape(os.fsencode(run.name)) + rb"(?![\w.-])")
    return _MENTIONED if any(name.search(payload) for payload in payloads) else _SILENT


def _rank_of_directory(document: bytes, run: Path) -> int:
    try:
        stated = PurePath(os.path.normpath(json.loads(document)))
    except ValueError:
        return _SILENT
    if not stated.parts:  # "." is told by where W&B's directory is.
        return _SILENT
    if stated.parts == run.parts[-len(stated.parts) :]:
        return _SAME_PLACE
    return _SAME_NAME if stated.name == run.name else _ELSEWHERE


def _tag(payload: bytes) -> int:
    """Return the tag of the record's content; ``num`` (tag 8) comes first where it is not zero."""
    if payload[0] != 0x08:  # noqa: PLR2004 - the tag of field 1, a varint
        return payload[0]
    position = 1
    while position < len(payload) and payload[position] & 0x80:
        position += 1
    return payload[position + 1] if position + 1 < len(payload) else 0
