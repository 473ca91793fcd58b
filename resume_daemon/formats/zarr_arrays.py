"""Arrays of zarr 2 and 3 in a store: their shapes, and where their chunks lie.

Source: the zarr specifications 2 and 3, with ``sharding_indexed`` (zarr-extensions), as Orbax 0.12
uses them (``serialization/tensorstore_utils.py: _build_zarr2_metadata, _build_zarr3_metadata``).
Neither has a checksum of the values; of a shard only the index has one (CRC-32C).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from resume_daemon.errors import ResumeDaemonError
from resume_daemon.formats.dtypes import BITS
from resume_daemon.formats.json_document import parse_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from resume_daemon.formats.ocdbt import Store, Value

_MOST_DIMENSIONS: Final = 32
_LARGEST: Final = 2**62
_DESCRIPTION: Final = 4 * 1024 * 1024
"""Bytes of memory for the description of one array, which has a kilobyte."""
_ZARR_2: Final = ".zarray"
_ZARR_3: Final = "zarr.json"
DESCRIPTIONS: Final = (_ZARR_2, _ZARR_3)
"""Names of the files, or ends of the keys, that describe an array."""
_MEMBERS: Final = {
    _ZARR_2: {
        *("zarr_format", "shape", "chunks", "dtype", "compressor", "fill_value", "order"),
        *("filters", "dimension_separator"),
    },
    _ZARR_3: {
        *("zarr_format", "node_type", "shape", "data_type", "chunk_grid", "chunk_key_encoding"),
        *("fill_value", "codecs", "attributes", "dimension_names", "storage_transformers"),
    },
}
"""All that a description may have: tensorstore raises at any other."""
_COMPRESSORS: Final = {"blosc", "bz2", "gzip", "lz4", "zlib", "zstd"}
_CODECS: Final[Mapping[str, set[str] | None]] = {
    "blosc": None,
    "bytes": {"endian"},
    "crc32c": set(),
    "gzip": {"level"},
    "sharding_indexed": {"chunk_shape", "codecs", "index_codecs", "index_location"},
    "transpose": {"order"},
    "zstd": {"level", "checksum"},
}
"""What tensorstore can decode, and what each is configured by; at others it raises."""
_OPTIONAL: Final = {"dimension_separator", "attributes", "dimension_names", "storage_transformers"}
_KINDS: Final = {"f": "F", "i": "I", "u": "U", "c": "C"}
_NAMED: Final[Mapping[str, str]] = {
    "|b1": "BOOL",
    "bool": "BOOL",
    "bfloat16": "BF16",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2",
    "complex64": "C64",
    "complex128": "C128",
    **{f"float{bits}": f"F{bits}" for bits in (16, 32, 64)},
    **{
        f"{sign}int{bits}": f"{sign or 'i'}".upper() + str(bits)
        for sign in ("", "u")
        for bits in (8, 16, 32, 64)
    },
}
"""Names of types in zarr 3, and of those in zarr 2 that are no codes of numpy."""


@dataclass(frozen=True, slots=True)
class Array:
    """One array.

    Attributes:
        name: As the tree of parameters has it, such as ``params.layer.kernel``.
        shape: Elements per dimension.
        dtype: Element type by its safetensors name; None for one that is not known here.
        chunk: Elements per dimension of what is encoded as one.
        grid: How many values of the store it consists of.
        inner: How many chunks one of them holds, with an index at its end; 0 for no shards.
        compressed: Each chunk is one frame of Zstandard; None where the codec is not known here.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str | None
    chunk: tuple[int, ...]
    grid: int
    inner: int
    compressed: bool | None

    @property
    def size(self) -> int:
        """Bytes of one decoded chunk; those at the end are padded."""
        return math.prod(self.chunk) * BITS[self.dtype] // 8 if self.dtype else 0


@dataclass(frozen=True, slots=True)
class Piece:
    """A value of the store that holds a chunk, or a shard of several, of an array."""

    array: Array
    index: str
    value: Value

    @property
    def label(self) -> str:
        """The array's name, with the chunk's place where it has more than one."""
        return self.array.name if self.array.grid == 1 else f"{self.array.name}@{self.index}"


@dataclass(frozen=True, slots=True)
class Arrays:
    """All arrays of a store.

    Attributes:
        arrays: By name.
        files: Every data file that the store needs, with the least size that it must have.
        pieces: Every value that holds values of an array.
        problems: What contradicts itself, in words.
    """

    arrays: Mapping[str, Array]
    files: Mapping[str, int]
    pieces: tuple[Piece, ...]
    problems: tuple[str, ...]

    def absent(self) -> Iterator[tuple[str, int]]:
        """Yield each array that lacks chunks, and how many; a loader fills them with zeros."""
        found = dict.fromkeys(self.arrays, 0)
        for piece in self.pieces:
            found[piece.array.name] += 1
        for name, count in found.items():
            if count < self.arrays[name].grid:
                yield name, self.arrays[name].grid - count


def arrays_in(store: Store, path: Path) -> Arrays:
    """Return the arrays of a store; ``path`` is named where one of them cannot be understood."""
    arrays: dict[str, Array] = {}
    problems: list[str] = []
    for key, value in store.values.items():
        name, _, kind = key.rpartition("/")
        if kind not in DESCRIPTIONS or value.inline is None:
            continue  # One larger than any that Orbax writes: its chunks are not judged.
        try:
            arrays[name] = described(
                name, kind, parse_json(value.inline, path, memory=_DESCRIPTION)
            )
        except (ResumeDaemonError, ValueError) as error:
            reason = error.reason if isinstance(error, ResumeDaemonError) else str(error)
            problems.append(f"{key} does not describe an array: {reason}")
    pieces = []
    for key, value in store.values.items():
        name, _, index = key.partition("/")
        while name not in arrays and "/" in index:
            head, _, index = index.partition("/")
            name = f"{name}/{head}"
        if name in arrays and index not in {*DESCRIPTIONS, ".zattrs"}:
            pieces.append(Piece(arrays[name], index, value))
    return Arrays(arrays, store.files, tuple(pieces), tuple(problems))


def described(name: str, kind: str, document: Any) -> Array:
    """Return the array that a document describes; ``kind`` is one of ``DESCRIPTIONS``.

    Raises:
        ValueError: It describes none that can be opened.
    """
    if not isinstance(document, dict):
        raise ValueError("it is no object")  # noqa: TRY004 - damage, as all else here
    members = _MEMBERS[kind]
    strange = {
        key
        for key in document.keys() - members
        # Zarr 3 lets extensions say that they may be ignored.
        if kind == _ZARR_2 or not _may_be_ignored(document[key])
    }
    if strange or (members - _OPTIONAL) - document.keys():
        names = sorted(strange) or sorted(members - _OPTIONAL - document.keys())
        raise ValueError(f"it {'has' if strange else 'lacks'} {', '.join(names)[:100]}")
    try:
        return _zarr_2(name, document) if kind == _ZARR_2 else _zarr_3(name, document)
    except (TypeError, KeyError, IndexError, AttributeError):
        raise ValueError("a part of it is of another kind than it should be") from None


def _may_be_ignored(value: Any) -> bool:
    return isinstance(value, dict) and value.get("must_understand") is False


def _zarr_2(name: str, document: Any) -> Array:
    if document["zarr_format"] != 2:  # noqa: PLR2004 - of the specification that it follows
        raise ValueError("it is of another version of zarr")
    compressor = document["compressor"]
    if compressor is not None and compressor["id"] not in _COMPRESSORS:
        raise ValueError(f"there is no compressor {str(compressor['id'])[:20]!r}")
    known = compressor is None or compressor["id"] == "zstd"
    if known and compressor is not None and compressor.keys() - {"id", "level", "checksum"}:
        raise ValueError("its compressor is not to be understood")
    plain = not document.get("filters") and document["order"] == "C"
    shape, chunk = _shape(document["shape"]), _shape(document["chunks"])
    return Array(
        name,
        shape,
        _dtype(document["dtype"]),
        chunk,
        _grid(shape, chunk),
        0,
        compressor is not None if known and plain else None,
    )


def _zarr_3(name: str, document: Any) -> Array:
    if document["zarr_format"] != 3 or document["node_type"] != "array":  # noqa: PLR2004 - as above
        raise ValueError("it is no array of zarr 3")
    shape = _shape(document["shape"])
    outer = chunk = _shape(document["chunk_grid"]["configuration"]["chunk_shape"])
    codecs, inner = document["codecs"], 0
    _codecs(codecs)
    if codecs[0]["name"] == "sharding_indexed":
        sharding = codecs[0]["configuration"]
        at_end = sharding.get("index_location", "end") == "end"
        names = _codecs(sharding["index_codecs"])
        chunk = _shape(sharding["chunk_shape"])
        inner, codecs = _grid(outer, chunk), sharding["codecs"]
        if not at_end or names != ["bytes", "crc32c"]:
            codecs = [{"name": "transpose"}]  # As one that is not known here.
    kinds = _codecs(codecs)
    compressed = {("bytes",): False, ("bytes", "zstd"): True}.get(tuple(kinds))
    if codecs[0].get("configuration", {}).get("endian") == "big":
        compressed = None
    dtype = _dtype(document["data_type"])
    return Array(name, shape, dtype, chunk, _grid(shape, outer), inner, compressed)


def _codecs(codecs: Any) -> list[str]:
    """Return the names of codecs, each of which has to be one that can be used."""
    for codec in codecs:
        members = _CODECS.get(codec["name"], set())
        strange = members is not None and codec.get("configuration", {}).keys() - members
        if codec["name"] not in _CODECS or codec.keys() - {"name", "configuration"} or strange:
            raise ValueError(f"there is no codec {str(codec)[:60]}")
    return [codec["name"] for codec in codecs]


def _shape(value: Any) -> tuple[int, ...]:
    if not isinstance(value, list) or len(value) > _MOST_DIMENSIONS:
        raise TypeError("a shape is no list of numbers")
    if not all(type(number) is int and 0 <= number < _LARGEST for number in value):
        raise ValueError("a shape holds what is no whole number")
    if math.prod(value) >= _LARGEST:
        raise ValueError("a shape is too large")
    return tuple(value)


def _grid(shape: tuple[int, ...], chunk: tuple[int, ...]) -> int:
    if len(shape) != len(chunk) or 0 in chunk:
        raise ValueError("chunks do not go with the shape")
    return math.prod(-(-length // part) for length, part in zip(shape, chunk, strict=True))


def _dtype(value: Any) -> str | None:
    if not isinstance(value, str):
        return None
    if value in _NAMED:
        return _NAMED[value]
    kind, digits = _KINDS.get(value[1:2]), value[2:]
    if value[:1] not in {"<", ">", "|"} or kind is None:
        return None
    name = f"{kind}{8 * int(digits)}" if digits in {"1", "2", "4", "8", "16"} else ""
    if name not in BITS:
        raise ValueError(f"there is no type {value[:20]!r}")
    return name if value[0] != ">" else None
