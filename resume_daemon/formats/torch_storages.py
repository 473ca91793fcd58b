"""Where the bytes of a torch file's tensors lie, once it is known where their storages begin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from resume_daemon.errors import FormatError
from resume_daemon.formats.dtypes import BITS
from resume_daemon.formats.tensors import TensorSpan

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from resume_daemon.formats.inert_pickle import Reference
    from resume_daemon.formats.torch_tensors import TensorReference
    from resume_daemon.formats.torch_zip import TorchArchive

OPERATION: Final = "read the torch file"


@dataclass(frozen=True, slots=True)
class TorchFile:
    """A torch file as values.

    Attributes:
        archive: Its records; None for an older file or a plain pickle.
        value: What was saved, with ``TensorReference`` for tensors and inert nodes for objects.
        references: What loading would import.
        tensors: Every tensor by its path in the value, such as ``state.0.exp_avg``; one that
            stands in several places is the same reference under several paths.
        storages: One span for each storage that a tensor uses, named by the path of the first
            that does, and in its shape where it is all of the storage, row after row; else in one
            dimension.
    """

    archive: TorchArchive | None
    value: Any
    references: tuple[Reference, ...]
    tensors: Mapping[str, TensorReference]
    storages: tuple[TensorSpan, ...]


def check_extent(name: str, tensor: TensorReference, path: Path) -> None:
    """Raise ``FormatError`` where a tensor reaches beyond what its storage is said to hold."""
    needed = (tensor.offset_elements + tensor.extent) * BITS[tensor.dtype] // 8
    if needed > tensor.storage_bytes:
        raise FormatError(
            OPERATION,
            path,
            f"tensor {name!r} needs {needed} bytes of storage {tensor.storage_key[:50]!r}, which "
            f"has {tensor.storage_bytes}",
        )


def place(name: str, tensor: TensorReference, storage: int) -> TensorSpan:
    """Set where a tensor's bytes lie, and return where its storage's do.

    Args:
        name: The tensor's.
        tensor: It.
        storage: Offset of the storage in the file, where all of it is known to lie.
    """
    width = BITS[tensor.dtype] // 8
    if tensor.span is None and tensor.extent == tensor.elements:
        begin = storage + tensor.offset_elements * width
        end = begin + tensor.elements * width
        tensor.span = TensorSpan(name, tensor.dtype, tensor.shape, begin, end)
    elements = tensor.storage_bytes // width
    whole = tensor.elements == elements and tensor.by_rows
    shape = tensor.shape if whole else (elements,)
    return TensorSpan(name, tensor.dtype, shape, storage, storage + elements * width)
