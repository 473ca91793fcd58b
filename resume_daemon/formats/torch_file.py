"""Files of ``torch.save``: the value with tensors as references, and where their bytes lie.

Of an archive only ``data.pkl`` and ``byteorder`` are read, and the bytes of a storage never
(layout: torch 2.13 ``torch/serialization.py: _save``).
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from resume_daemon.errors import FormatError
from resume_daemon.files import open_regular
from resume_daemon.formats.byte_ranges import HEAD, read_range
from resume_daemon.formats.dtypes import BITS
from resume_daemon.formats.inert_pickle import load
from resume_daemon.formats.pickle_source import FileSource
from resume_daemon.formats.torch_legacy import read_torch_pickles
from resume_daemon.formats.torch_storages import TorchFile, check_extent, place
from resume_daemon.formats.torch_tensors import TENSOR_REBUILDERS, named_tensors
from resume_daemon.formats.torch_zip import FileKind, read_archive, read_record, sniff

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from resume_daemon.formats.inert_pickle import PickleContent
    from resume_daemon.formats.pickle_budget import Budget
    from resume_daemon.formats.tensors import TensorSpan
    from resume_daemon.formats.torch_tensors import TensorReference
    from resume_daemon.formats.torch_zip import Record

_OPERATION: Final = "read the torch file"
_INFLATED_LIMIT: Final = 64 * 1024 * 1024
"""Bytes of the pickle in an archive that somebody compressed, which has to be held in memory."""


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
    return read_torch_archive(path) if kind is FileKind.ZIP else read_torch_pickles(path)


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
        check_extent(name, tensor, path)
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
    return place(name, tensor, record.begin)
