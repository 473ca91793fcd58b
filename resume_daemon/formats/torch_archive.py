"""Files as ``torch.save`` writes them, made without torch; ``torch.load`` reads them.

Layout: torch 2.13 ``torch/serialization.py: _save``: a ZIP archive with the pickle (protocol 2) in
``data.pkl`` and each tensor's bytes in a record of its own, stored, aligned to 64 bytes, each with
its CRC-32. Pickle and archive were held against files of torch 2.13.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

_STORAGES: Final = {"float32": "FloatStorage", "int64": "LongStorage", "uint8": "ByteStorage"}
_ALIGNMENT: Final = 64


@dataclass(frozen=True, slots=True)
class Instance:
    """An object of a class that need not be installed here, with its attributes."""

    module: str
    name: str
    attributes: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Enumerated:
    """A member of an enumeration that need not be installed here: a call of it with a value."""

    module: str
    name: str
    value: str


@dataclass(frozen=True, slots=True)
class NumpyArray:
    """An array that stays one of numpy, as in a random state; bare arrays become tensors."""

    array: np.ndarray[Any, Any]


def torch_archive(name: str, value: Any) -> bytes:
    """Return the file that ``torch.save(value, name)`` would write, arrays as contiguous tensors.

    Args:
        name: Name of the file without its suffix: the folder inside the archive.
        value: Dictionaries, lists, tuples, plain scalars and text, arrays (float32, int64, uint8),
            and the three classes above.

    Raises:
        TypeError: There is something else in it.
        KeyError: An array has another type.
    """
    storages: list[bytes] = []
    # As with torch, the pickle comes first, and it refers to the storages by number.
    records = [
        ("data.pkl", b"\x80\x02" + _pickled(value, storages) + b"."),
        (".format_version", b"1"),
        (".storage_alignment", str(_ALIGNMENT).encode()),
        ("byteorder", b"little"),
        *((f"data/{number}", content) for number, content in enumerate(storages)),
        ("version", b"3\n"),
        (".data/serialization_id", b"0" * 40),
    ]
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for record, content in records:
            _add(archive, file.tell(), f"{name}/{record}", content)
    return file.getvalue()


def _add(archive: zipfile.ZipFile, offset: int, name: str, content: bytes) -> None:
    entry = zipfile.ZipInfo(name)
    # Local header, name, and the header of the padding itself come before the content.
    padding = -(offset + 30 + len(name) + 4) % _ALIGNMENT
    entry.extra = b"FB" + padding.to_bytes(2, "little") + b"Z" * padding
    archive.writestr(entry, content)


def _pickled(value: Any, storages: list[bytes]) -> bytes:
    """Return the instructions that push a value; what torch names is written, never imported."""
    match value:
        case np.ndarray():
            return _tensor(value, storages)
        case NumpyArray():
            return _plain(value.array)
        case Instance():
            state = _pickled(dict(value.attributes), storages)
            return _name(value.module, value.name) + b")\x81" + state + b"b"
        case Enumerated():
            return _name(value.module, value.name) + _plain(value.value) + b"\x85R"
        case dict():
            pairs = (part for pair in value.items() for part in pair)
            return b"}(" + _sequence(pairs, storages) + b"u"
        case list():
            return b"](" + _sequence(value, storages) + b"e"
        case tuple():
            return b"(" + _sequence(value, storages) + b"t"
        case None | bool() | int() | float() | str():
            return _plain(value)
    raise TypeError(f"{type(value).__name__} cannot be written into a torch archive here")


def _sequence(values: Any, storages: list[bytes]) -> bytes:
    return b"".join(_pickled(value, storages) for value in values)


def _tensor(array: np.ndarray[Any, Any], storages: list[bytes]) -> bytes:
    """Return the call of ``torch._utils._rebuild_tensor_v2`` on a storage of its own."""
    storage = (
        b"("
        + _plain("storage")
        + _name("torch", _STORAGES[array.dtype.name])
        + _plain(str(len(storages)))
        + _plain("cpu")
        + _plain(array.size)
        + b"tQ"
    )
    storages.append(array.tobytes())
    stride = [1]
    for length in array.shape[:0:-1]:
        stride.insert(0, stride[0] * length)
    return (
        _name("torch._utils", "_rebuild_tensor_v2")
        + b"("
        + storage
        + _plain(0)
        + _plain(array.shape)
        + _plain(tuple(stride[: array.ndim]))
        + _plain(False)
        + _name("collections", "OrderedDict")
        + b")RtR"
    )


def _name(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def _plain(value: Any) -> bytes:
    """Return what the standard library writes, without the frame; it refers only to itself."""
    return pickletools.optimize(pickle.dumps(value, 2))[2:-1]
