"""A ``.distcp`` shard: one archive of ``torch.save`` after another, as the metadata places them.

Source: torch 2.13 ``distributed/checkpoint/filesystem.py: _write_item``. Each archive has a CRC-32
of its own records, so that a flipped bit shows, although the library itself never looks.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from resume_daemon.errors import BeyondBoundsError, FormatError
from resume_daemon.formats.content import Content, Problem, ProblemKind
from resume_daemon.formats.inert_values import Limits
from resume_daemon.formats.pickle_budget import Budget
from resume_daemon.formats.tensors import RecordSpan
from resume_daemon.formats.torch_file import read_torch_archive
from resume_daemon.formats.torch_tensors import TensorReference
from resume_daemon.formats.torch_zip import MAX_RECORDS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from resume_daemon.formats.dcp_metadata import Chunk, Shape
    from resume_daemon.formats.inert_pickle import Reference
    from resume_daemon.formats.tensors import TensorSpan
    from resume_daemon.formats.torch_storages import TorchFile

_OPERATION: Final = "read the shard"
_MOST_PROBLEMS: Final = 8


def read_dcp_shard(path: Path, size: int, chunks: Sequence[Chunk]) -> Content:
    """Return what a shard holds: its value is what is no tensor, by name.

    Args:
        path: The shard.
        size: Its bytes.
        chunks: What the metadata says of it, in the order in which it lies.

    Raises:
        FormatError: It is shorter than its metadata says, or a piece cannot be read.
        ChangedError: It became shorter meanwhile.
        VanishedError: It is not there.
        ResumeDaemonError: It cannot be read.
    """
    promised = max((chunk.begin + chunk.size for chunk in chunks), default=0)
    if size < promised:
        reason = f"it is cut short: {promised - size} of {promised} bytes are missing"
        raise FormatError(_OPERATION, path, reason)
    problems = []
    if size > promised:
        words = f"{size - promised} bytes follow what the metadata describes"
        problems.append(Problem(ProblemKind.SIZE, words))
    value: dict[str, Any] = {}
    shapes: dict[str, Shape] = {}
    spans: list[TensorSpan] = []
    records: list[RecordSpan] = []
    scalars: dict[str, TensorSpan] = {}
    references: dict[Reference, None] = {}
    objects = Budget(Limits())
    free = 0
    for chunk in chunks:
        if chunk.begin < free:
            words = f"{chunk.label} begins before the end of another piece"
            problems.append(Problem(ProblemKind.PLACE, words))
            continue  # Its bytes have been read once.
        free = chunk.begin + chunk.size
        if chunk.transformed:
            continue
        # Of a tensor nothing is kept but its place.
        found = _read(path, chunk, objects if chunk.dtype is None else None)
        references |= dict.fromkeys(found.references)
        if found.archive is not None:
            records += [
                RecordSpan(f"{chunk.label}/{r.name}", r.begin, r.begin + r.size, r.crc)
                for r in found.archive.records
                if not r.compressed
            ]
            if len(records) > MAX_RECORDS:
                reason = f"it has more than {MAX_RECORDS} records, which are not read"
                raise BeyondBoundsError(_OPERATION, path, reason)
        if chunk.dtype is None:
            value[chunk.name] = found.value
            spans += [replace(s, name=f"{chunk.name}.{s.name}") for s in found.storages]
            continue
        shapes[chunk.label] = chunk.shape
        problems += _differences(chunk, found.value)
        spans += [replace(span, name=chunk.label) for span in found.storages]
        span = found.value.span if isinstance(found.value, TensorReference) else None
        if span is not None and not span.shape:
            scalars[chunk.label] = span
    return Content(
        value=value,
        shapes=shapes,
        spans=tuple(spans),
        records=tuple(records),
        scalars=scalars,
        references=tuple(references),
        problems=tuple(problems[:_MOST_PROBLEMS]),
    )


def _read(path: Path, chunk: Chunk, budget: Budget | None) -> TorchFile:
    try:
        return read_torch_archive(path, chunk.begin, chunk.begin + chunk.size, budget)
    except FormatError as error:
        kind = BeyondBoundsError if isinstance(error, BeyondBoundsError) else FormatError
        raise kind(_OPERATION, path, f"{chunk.label}: {error.reason}") from None


def _differences(chunk: Chunk, value: Any) -> list[Problem]:
    """Return how a stored tensor differs from what the metadata says of it."""
    if not isinstance(value, TensorReference):
        words = f"{chunk.label} is no tensor, and the metadata says that it is one"
    elif (value.shape, value.dtype) != (chunk.shape, chunk.dtype):
        words = (
            f"{chunk.label} has shape {list(value.shape)} and type {value.dtype}, the metadata "
            f"says {list(chunk.shape)} and {chunk.dtype}"
        )
    else:
        return []
    return [Problem(ProblemKind.SHAPE, words)]
