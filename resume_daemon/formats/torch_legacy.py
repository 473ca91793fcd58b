"""Files of ``torch.save`` from before the archives, and plain pickles.

Four pickles (a magic number, a version, what the machine was, the value) and a fifth, the keys of
the storages, which follow it in that order: each a count of elements in 8 bytes, then the elements
(torch 2.13 ``torch/serialization.py: _legacy_save, _legacy_load``). Megatron, DeepSpeed with
``checkpoint_serialization`` off and ``_use_new_zipfile_serialization=False`` leave such files.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

from resume_daemon.errors import FormatError
from resume_daemon.files import open_regular
from resume_daemon.formats.byte_ranges import read_range
from resume_daemon.formats.dtypes import BITS
from resume_daemon.formats.inert_pickle import PickleContent, load
from resume_daemon.formats.inert_values import Limits
from resume_daemon.formats.pickle_budget import Budget
from resume_daemon.formats.pickle_source import FileSource
from resume_daemon.formats.torch_storages import OPERATION, TorchFile, check_extent, place
from resume_daemon.formats.torch_tensors import TENSOR_REBUILDERS, named_tensors

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from resume_daemon.formats.tensors import TensorSpan
    from resume_daemon.formats.torch_tensors import TensorReference

_MAGIC: Final = 0x1950A86A20F9469CFC6C
"""First pickle (torch ``serialization.py: MAGIC_NUMBER``)."""

_COUNT: Final = 8
"""Bytes of the number of elements before each storage."""


def read_torch_pickles(
    path: Path, begin: int = 0, end: int | None = None, budget: Budget | None = None
) -> TorchFile:
    """Return what a file of pickles holds that is a part of a file, or all of it.

    Args:
        path: The file.
        begin: Where in it the pickles begin.
        end: Where they end; None for the end of the file.
        budget: What they may cost, where other pickles share that.

    Raises:
        FormatError: It is no pickle, is cut short, comes from a big-endian machine, or describes
            tensors that its storages do not hold; the reason names the tensor.
        ChangedError: It became shorter meanwhile.
        ResumeDaemonError: It cannot be read.
    """
    with open_regular(path) as fd:
        limit = os.fstat(fd).st_size if end is None else end
        pickles = _pickles(FileSource(fd, path, begin, limit), path, budget or Budget(Limits()))
        content = pickles[_VALUE] if len(pickles) > 1 else pickles[0]
        tensors = dict(named_tensors(content, path))
        for name, tensor in tensors.items():
            check_extent(name, tensor, path)
        storages: tuple[TensorSpan, ...] = ()
        if len(pickles) > 1:
            system = pickles[_SYSTEM].value
            if isinstance(system, dict) and system.get("little_endian") is False:
                raise FormatError(OPERATION, path, "it was written on a big-endian machine")
            keys = _known(pickles[-1].value, path)
            places = range(begin + pickles[-1].end, limit)
            storages = tuple(_storages(fd, path, places, keys, tensors))
    # Loading runs what is in the headers and the keys as well.
    references = dict.fromkeys(name for each in pickles for name in each.references)
    return TorchFile(None, content.value, tuple(references), tensors, storages)


_SYSTEM: Final = 2
_VALUE: Final = 3
_PICKLES: Final = 5


def _pickles(data: FileSource, path: Path, budget: Budget) -> list[PickleContent]:
    """Return all five pickles, or the one of a file that is a plain pickle."""
    found = [load(data, path, budget=budget, rebuilders=TENSOR_REBUILDERS)]
    while found[0].value == _MAGIC and len(found) < _PICKLES:
        begin = found[-1].end
        found.append(load(data, path, begin=begin, budget=budget, rebuilders=TENSOR_REBUILDERS))
    return found


def _known(keys: Any, path: Path) -> list[str]:
    named = isinstance(keys, list) and all(isinstance(key, str) for key in keys)
    if not named or len(set(keys)) != len(keys):
        raise FormatError(OPERATION, path, "the keys of its storages are no list of names")
    return list(keys)


def _storages(
    fd: int, path: Path, places: range, keys: list[str], tensors: Mapping[str, TensorReference]
) -> Iterator[TensorSpan]:
    """Place every storage, and yield it under the first tensor that uses it.

    Args:
        fd: The file.
        path: Its name, for messages.
        places: Where the storages may lie in it.
        keys: Of the storages, in their order.
        tensors: By name.

    Raises:
        FormatError: A storage is missing, or is not what the tensors say that it is.
    """
    using: dict[str, list[str]] = {}
    for name, tensor in tensors.items():
        using.setdefault(tensor.storage_key, []).append(name)
    for key in using.keys() - set(keys):
        words = f"the storage {key[:50]!r} of tensor {using[key][0]!r} is missing from it"
        raise FormatError(OPERATION, path, words)
    end = places.start
    for key in keys:
        if key not in using:
            # Something other than a tensor uses it, so that its width is not known.
            return
        names = using[key]
        first = tensors[names[0]]
        begin, end = end + _COUNT, end + _COUNT + first.storage_bytes
        if end > places.stop:
            words = f"it is cut short: tensor {names[0]!r} lacks {end - places.stop} bytes"
            raise FormatError(OPERATION, path, words)
        count = int.from_bytes(read_range(fd, begin - _COUNT, _COUNT, path), "little", signed=True)
        # Types that have no storage of their own are counted in bytes.
        told = {tensors[name].storage_bytes for name in names}
        if told not in ({count}, {count * (BITS[first.dtype] // 8)}):
            words = f"the storage of tensor {names[0]!r} is of another size than is described"
            raise FormatError(OPERATION, path, words)
        spans = [place(name, tensors[name], begin) for name in names]
        yield spans[0]
