"""Files as ``torch.save`` writes them, made without torch (``torch.load`` reads them).

Arrays become tensors; the same array in two places becomes one tensor in two places.
"""

from __future__ import annotations

import io
import pickle
import struct
import zlib
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

_STORAGES = {
    "float64": "DoubleStorage",
    "float32": "FloatStorage",
    "float16": "HalfStorage",
    "int64": "LongStorage",
    "int32": "IntStorage",
    "int16": "ShortStorage",
    "int8": "CharStorage",
    "uint8": "ByteStorage",
    "bool": "BoolStorage",
    "complex64": "ComplexFloatStorage",
    "complex128": "ComplexDoubleStorage",
}
_ALIGNMENT = 64


class Bfloat16:
    """An array that is saved as bfloat16, which numpy has not: the upper halves of float32."""

    def __init__(self, values: Any) -> None:
        self.halves = np.ascontiguousarray(values, np.float32).view(np.uint32) >> 16


class Global:
    """Something importable, such as ``Global("torch", "float32")``; called only by a loader."""

    def __init__(self, module: str, name: str) -> None:
        self.module = module
        self.name = name

    def __call__(self, *arguments: Any) -> Any:
        """Be callable, as pickling asks of what it writes a call of."""
        raise NotImplementedError


class Reduced:
    """An object that is pickled as a call of ``function`` with ``arguments``, and a state."""

    def __init__(self, function: Global, *arguments: Any, state: Any = None) -> None:
        self.reduction = (function, arguments, state)

    def __reduce__(self) -> Any:
        """Return the call and the state."""
        return self.reduction


class Instance:
    """An object of a class that need not be there, pickled as pickle does by default.

    ``_state`` is given where the class's own state is no table of attributes.
    """

    def __init__(self, kind: Global, _state: Any = None, **state: Any) -> None:
        self.kind = kind
        self.state = state if _state is None else _state


class Storage:
    """The record of a tensor, for tensors that no array makes; without content it is missing."""

    def __init__(self, kind: str, content: bytes | None, elements: Any) -> None:
        self.kind = kind
        self.content = content
        self.elements = elements


# The pickler in Python, whose table of types can be extended; typeshed has little of it.
_PythonPickler: Any = pickle._Pickler


class _Pickler(_PythonPickler):  # type: ignore[misc]
    dispatch: ClassVar[dict[type, Callable[..., None]]] = dict(_PythonPickler.dispatch)

    def __init__(self, file: io.BytesIO, protocol: int) -> None:
        super().__init__(file, protocol)
        self.storages: list[Storage] = []
        self.legacy = False

    def persistent_id(self, obj: Any) -> Any:
        """Keep the content of storages out of the pickle."""
        if not isinstance(obj, Storage):
            return None
        if obj not in self.storages:
            self.storages.append(obj)
        key = str(self.storages.index(obj))
        reference = ("storage", Global("torch", obj.kind), key, "cpu", obj.elements)
        # Until the archives it ended in what a view of another storage was.
        return (*reference, None) if self.legacy else reference

    def save_stand_in(self, obj: Global) -> None:
        """Write the name of something that need not be there."""
        self.write(f"c{obj.module}\n{obj.name}\n".encode())
        self.memoize(obj)

    def save_instance(self, obj: Instance) -> None:
        """Write what makes an object without its constructor, and its attributes."""
        self.save(obj.kind)
        self.write(pickle.EMPTY_TUPLE + pickle.NEWOBJ)
        self.memoize(obj)
        self.save(obj.state)
        self.write(pickle.BUILD)

    def save_tensor(self, obj: Any) -> None:
        """Write the call that rebuilds a contiguous tensor."""
        if isinstance(obj, Bfloat16):
            kind, array = "BFloat16Storage", obj.halves.astype(np.uint16)
        else:
            kind, array = _STORAGES[obj.dtype.name], np.ascontiguousarray(obj).reshape(obj.shape)
        stride = tuple(length // array.itemsize for length in array.strides)
        storage = Storage(kind, array.tobytes(), array.size)
        arguments: tuple[Any, ...] = (storage, 0, array.shape, stride, False, OrderedDict())
        self.save_reduce(Global("torch._utils", "_rebuild_tensor_v2"), arguments, obj=obj)

    dispatch[Global] = save_stand_in
    dispatch[Instance] = save_instance
    dispatch[np.ndarray] = save_tensor
    dispatch[Bfloat16] = save_tensor


def write_torch_file(path: Path, value: Any, *, crc: bool = True, protocol: int = 2) -> None:
    """Write ``value`` as ``torch.save`` does, its arrays as tensors.

    Args:
        path: File to write.
        value: Anything that can be pickled.
        crc: Whether the checksums are right; without, they are as after
            ``torch.serialization.set_crc32_options(False)``.
        protocol: Of the pickle; torch uses 2.
    """
    path.write_bytes(torch_file(value, folder=path.stem, crc=crc, protocol=protocol))


def torch_file(value: Any, *, folder: str, crc: bool = True, protocol: int = 2) -> bytes:
    """Return the content of such a file, whose records lie below ``folder``."""
    stream = io.BytesIO()
    pickler = _Pickler(stream, protocol)
    pickler.dump(value)
    records = [
        (f"{folder}/data.pkl", stream.getvalue()),
        (f"{folder}/.format_version", b"1"),
        (f"{folder}/.storage_alignment", str(_ALIGNMENT).encode()),
        (f"{folder}/byteorder", b"little"),
        *(
            (f"{folder}/data/{key}", storage.content)
            for key, storage in enumerate(pickler.storages)
            if storage.content is not None
        ),
        (f"{folder}/version", b"3\n"),
        (f"{folder}/.data/serialization_id", b"0" * 40),
    ]
    return zip_archive(records, crc=crc)


def write_legacy_torch_file(path: Path, value: Any) -> None:
    """Write ``value`` as ``torch.save`` does with ``_use_new_zipfile_serialization=False``."""
    path.write_bytes(legacy_torch_file(value))


def legacy_torch_file(value: Any, **system: Any) -> bytes:
    """Return the content of such a file: pickles, then the storages, each after its count."""
    stream = io.BytesIO()
    pickler = _Pickler(stream, 2)
    pickler.legacy = True
    pickler.dump(value)
    system = {"protocol_version": 1001, "little_endian": True, **system}
    keys = [str(key) for key in range(len(pickler.storages))]
    head = [pickle.dumps(each, 2) for each in (0x1950A86A20F9469CFC6C, 1001, system)]
    tail = [
        struct.pack("<q", storage.elements) + storage.content
        for storage in pickler.storages
        if storage.content is not None
    ]
    return b"".join([*head, stream.getvalue(), pickle.dumps(keys, 2), *tail])


def pickled(value: Any, protocol: int = 2) -> bytes:
    """Return a plain pickle of a value that holds no tensors."""
    stream = io.BytesIO()
    _Pickler(stream, protocol).dump(value)
    return stream.getvalue()


def zip_archive(records: Sequence[tuple[str, bytes]], *, crc: bool = True) -> bytes:
    """Return an archive as torch's writer makes it: stored, aligned, sizes after the content."""
    data, directory = bytearray(), bytearray()
    for name, content in records:
        raw, begin = name.encode(), len(data)
        checksum = zlib.crc32(content) ^ (0 if crc else 0x5555_5555)
        padding = -(begin + 30 + len(raw) + 4) % _ALIGNMENT
        extra = struct.pack("<2sH", b"FB", padding) + b"Z" * padding
        common = (0x0808, 0, 0, 0)
        data += struct.pack("<4s5H3L2H", b"PK\3\4", 0, *common, 0, 0, 0, len(raw), len(extra))
        data += raw + extra + content
        data += struct.pack("<4s3L", b"PK\7\x08", checksum, len(content), len(content))
        sizes = (checksum, len(content), len(content))
        directory += struct.pack(
            "<4s6H3L5H2L", b"PK\1\2", 0, 0, *common, *sizes, len(raw), 0, 0, 0, 0, 0, begin
        )
        directory += raw
    begin, count, length = len(data), len(records), len(directory)
    end_64 = struct.pack(
        "<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, count, count, length, begin
    ) + struct.pack("<4sLQL", b"PK\6\7", 0, begin + length, 1)
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count, count, length, begin, 0)
    return bytes(data + directory + end_64 + end)
