"""Files of ``torch.save``: the value with tensors as references, and where their bytes lie.

Of an archive only ``data.pkl`` and ``byteorder`` are read, and the bytes of a storage never
(layout: torch 2.13 ``torch/serialization.py: _save``). Older files, and plain pickles, give their
value without places.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from resume_daemon.errors import FormatError
from resume_daemon.files import open_regular
from resume_daemon.formats.byte_ranges import HEAD, read_range
from resume_daemon.formats.dtypes import BITS
from resume_daemon.formats.inert_pickle import PickleContent, load
from resume_daemon.formats.inert_values import Limits
from resume_daemon.formats.pickle_budget import Budget
from resume_daemon.formats.pickle_source import FileSource
from resume_daemon.formats.tensors import TensorSpan
from resume_daemon.formats.torch_tensors import TENSOR_REBUILDERS, TensorReference, named_tensors
from resume_daemon.formats.torch_zip import (
    FileKind,
    Record,
    TorchArchive,
    read_archive,
    read_record,
    sniff,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from resume_daemon.formats.inert_pickle import Reference
    from resume_daemon.formats.pickle_source import Source

_OPERATION: Final = "read the torch file"
_LEGACY_MAGIC: Final = 0x1950A86A20F9469CFC6C
"""First pickle of a file from before the archives (torch ``serialization.py: MAGIC_NUMBER``)."""

_LEGACY_HEADERS: Final = 3
_INFLATED_LIMIT: Final = 64 * 1024 * 1024
"""Bytes of the pickle in an archive that somebody compressed, which has to be held in memory."""


@dataclass(frozen=True, slots=True)
class TorchFile:
    """A torch file as values.

    Attributes:
        archive: Its records; None for an older file or a plain pickle.
        value: What was saved, with ``TensorReference`` for tensors and inert nodes for objects.
        references: What loading would import.
        tensors: Every tensor by its path in the value, such as ``state.0.exp_avg``; one that
            stands in several places is the same reference under several paths.
        storages: One span for each storage that a tensor uses, as one dimension of elements,
            named by the path of the first tensor that uses it.
    """

    archive: TorchArchive | None
    value: Any
    references: tuple[Reference, ...]
    tensors: Mapping[str, TensorReference]
    storages: tuple[TensorSpan, ...]


def read_torch_file(path: Path) -> TorchFile:
    """Return what a file of ``torch.save``, or a plain pickle, holds; nothing in it is loaded.

    Raises:
        FormatError: It is neither, is cut short, comes from a big-endian machine, or describes
            tensors that its storages do not hold; the reason names the tensor.
        ChangedError: It became shorter meanwhile.
        VanishedError: It is not there.
        ResumeDaemonError: It cannot be read.
    """
    kind = sniff(path)
    if kind is FileKind.UNKNOWN:
        raise FormatError(_OPERATION, path, "it is neither a torch archive nor a pickle")
    if kind is not FileKind.ZIP:
        content = _load_plain(path)
        tensors = dict(named_tensors(content, path))
        for name, tensor in tensors.items():
            _check(name, tensor, path)
        return TorchFile(None, content.value, content.references, tensors, ())
    return read_torch_archive(path)


def read_torch_archive(
    path: Path, begin: int = 0, end: int | None = None, budget: Budget | None = None
) -> TorchFile:
    """Return what an archive of ``torch.save`` holds that is a part of a file, or all of it.

    Args:
        path: The file.
        begin: Where in it the archive begins.
        end: Where it ends; None for the end of the file.
        budget: What its pickle may cost, where other archives share that.

    Raises:
        FormatError: As ``read_torch_file``.
        ChangedError: It became shorter meanwhile.
        VanishedError: It is not there.
        ResumeDaemonError: It cannot be read.
    """
    archive = read_archive(path, begin, end)
    records = {record.name: record for record in archive.records}
    folder = archive.records[0].name.partition("/")[0] if archive.records else ""
    if (pickle := records.get(f"{folder}/data.pkl")) is None:
        raise FormatError(_OPERATION, path, "the archive holds no data.pkl: torch did not save it")
    if f"{folder}/constants.pkl" in records:
        raise FormatError(_OPERATION, path, "it is a TorchScript program, and no saved state")
    if f"{folder}/version" not in records and f"{folder}/.data/version" not in records:
        raise FormatError(_OPERATION, path, "it has no version, without which torch refuses it")
    content = _load_record(path, pickle, budget)
    order = records.get(f"{folder}/byteorder")
    if order is not None and read_record(path, order, HEAD) != b"little":
        raise FormatError(_OPERATION, path, "it was written on a big-endian machine")
    tensors = dict(named_tensors(content, path))
    storages: dict[str, TensorSpan] = {}
    for name, tensor in tensors.items():
        _check(name, tensor, path)
        span = _locate(name, tensor, records.get(f"{folder}/data/{tensor.storage_key}"), path)
        if span is not None:
            storages.setdefault(tensor.storage_key, span)
    return TorchFile(archive, content.value, content.references, tensors, tuple(storages.values()))


def scalar_value(path: Path, span: TensorSpan | None) -> int | float | None:
    """Return the value of a tensor of one element, such as an optimizer's ``step``.

    Returns:
        The number; None where the tensor has more elements, another type, or no known place.

    Raises:
        ChangedError: The file became shorter meanwhile.
        VanishedError: It is not there.
        ResumeDaemonError: It cannot be read.
    """
    if span is None or span.dtype not in _SCALARS or 8 * span.size != BITS[span.dtype]:
        return None
    with open_regular(path) as fd:
        content = read_range(fd, span.begin, span.size, path)
    if span.dtype == "BF16":
        # The upper half of a float32.
        content = b"\0\0" + content
    value: int | float = struct.unpack(_SCALARS[span.dtype], content)[0]
    return value


_SCALARS: Final[Mapping[str, str]] = {
    "F64": "<d",
    "F32": "<f",
    "F16": "<e",
    "BF16": "<f",
    "I64": "<q",
    "I32": "<i",
    "I16": "<h",
    "I8": "<b",
    "U64": "<Q",
    "U32": "<I",
    "U16": "<H",
    "U8": "<B",
    "BOOL": "<?",
}


def _load_record(path: Path, record: Record, budget: Budget | None) -> PickleContent:
    """Return the value of an archive, whose pickle is looked at where it lies if it is stored."""
    if record.compressed:
        data = read_record(path, record, _INFLATED_LIMIT)
        return load(data, path, budget=budget, rebuilders=TENSOR_REBUILDERS)
    with open_regular(path) as fd:
        source = FileSource(fd, path, record.begin, record.begin + record.size)
        return load(source, path, budget=budget, rebuilders=TENSOR_REBUILDERS)


def _load_plain(path: Path) -> PickleContent:
    """Return the value of an older torch file, or of a plain pickle."""
    with open_regular(path) as fd:
        return load_sequence(FileSource(fd, path), path)


def load_sequence(data: Source, path: Path, budget: Budget | None = None) -> PickleContent:
    """Return the value of an older torch file, whose storages follow it, or of a plain pickle.

    Raises:
        FormatError: It is neither.
    """
    budget = budget or Budget(Limits())
    content = load(data, path, budget=budget, rebuilders=TENSOR_REBUILDERS)
    if content.value == _LEGACY_MAGIC:
        for _ in range(_LEGACY_HEADERS):
            content = load(
                data, path, begin=content.end, budget=budget, rebuilders=TENSOR_REBUILDERS
            )
    return content


def _check(name: str, tensor: TensorReference, path: Path) -> None:
    """Raise ``FormatError`` where a tensor reaches beyond what its storage is said to hold."""
    needed = (tensor.offset_elements + tensor.extent) * BITS[tensor.dtype] // 8
    if needed > tensor.storage_bytes:
        raise FormatError(
            _OPERATION,
            path,
            f"tensor {name!r} needs {needed} bytes of storage {tensor.storage_key[:50]!r}, which "
            f"has {tensor.storage_bytes}",
        )


def _locate(
    name: str, tensor: TensorReference, record: Record | None, path: Path
) -> TensorSpan | None:
    """Set where a tensor's bytes lie, and return where its storage's do.

    Raises:
        FormatError: The archive lacks the storage, or a part of it.
    """
    if record is None:
        raise FormatError(
            _OPERATION,
            path,
            f"the storage data/{tensor.storage_key[:50]} of tensor {name!r} is missing from it",
        )
    if record.compressed:
        return None
    if record.size < tensor.storage_bytes:
        raise FormatError(
            _OPERATION,
            path,
            f"the storage data/{tensor.storage_key} of tensor {name!r} has {record.size} bytes, "
            f"and {tensor.storage_bytes} are described",
        )
    width = BITS[tensor.dtype] // 8
    if tensor.span is None and tensor.extent == tensor.elements:
        begin = record.begin + tensor.offset_elements * width
        end = begin + tensor.elements * width
        tensor.span = TensorSpan(name, tensor.dtype, tensor.shape, begin, end)
    elements = tensor.storage_bytes // width
    end = record.begin + elements * width
    return TensorSpan(name, tensor.dtype, (elements,), record.begin, end)
