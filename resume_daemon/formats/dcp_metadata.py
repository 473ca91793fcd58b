"""The ``.metadata`` of ``torch.distributed.checkpoint``: tensors, their pieces, where they lie.

It is a pickle of one ``Metadata`` (torch 2.13 ``distributed/checkpoint/metadata.py``); the shards
are written first, then ``.metadata.tmp``, which is renamed (``filesystem.py: finish``).
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from resume_daemon.errors import FormatError
from resume_daemon.files import open_regular
from resume_daemon.formats.content import Content, Problem, ProblemKind
from resume_daemon.formats.dtypes import TORCH_DTYPES
from resume_daemon.formats.inert_pickle import GlobalReference, load
from resume_daemon.formats.pickle_source import FileSource

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from resume_daemon.formats.inert_values import Reference

_OPERATION: Final = "read the shard metadata of"
_LARGEST: Final = 2**63
_MOST_DIMENSIONS: Final = 64
_MOST_PROBLEMS: Final = 8
_MODULES: Final = frozenset(
    {
        "torch.distributed.checkpoint.metadata",
        "torch.distributed.checkpoint.filesystem",
        # Until 2.2, and until 1.13.
        "torch.distributed._shard.sharded_tensor.metadata",
        "torch.distributed._shard.checkpoint.metadata",
        "torch.distributed._shard.checkpoint.filesystem",
    }
)
"""Where the library's classes are: a name that is not among them is a damaged one."""

_NAMES: Final = frozenset(
    {
        "Metadata",
        "TensorStorageMetadata",
        "BytesStorageMetadata",
        "ChunkStorageMetadata",
        "TensorProperties",
        "MetadataIndex",
        "StorageMeta",
        "MEM_FORMAT_ENCODING",
        "_MEM_FORMAT_ENCODING",
        "_StorageInfo",
        "_StoragePrefix",
    }
)
"""What the library has in them (torch 2.13); later versions may have more."""

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Chunk:
    """One piece of a state, as a shard holds it.

    Attributes:
        name: Of the tensor or object, as the state dict has it.
        begin: Offset in the shard.
        size: Bytes there.
        dtype: Element type, by its safetensors name; None for an object that is no tensor.
        offsets: Where the piece begins in the tensor, per dimension.
        shape: Elements per dimension.
        transformed: The bytes went through an extension such as a compressor.
    """

    name: str
    begin: int
    size: int
    dtype: str | None
    offsets: Shape
    shape: Shape
    transformed: bool

    @property
    def label(self) -> str:
        """The name, with the place in the tensor where the piece is not at its beginning."""
        return f"{self.name}@{','.join(map(str, self.offsets))}" if any(self.offsets) else self.name


@dataclass(frozen=True, slots=True)
class DcpMetadata:
    """What the shards have to hold.

    Attributes:
        tensors: Shape of every tensor by name.
        objects: Names of what is no tensor.
        shards: The pieces in each shard, in the order in which they lie.
    """

    tensors: Mapping[str, Shape]
    objects: frozenset[str]
    shards: Mapping[str, tuple[Chunk, ...]]


def read_dcp_metadata(path: Path) -> Content:
    """Return the metadata as a ``Content`` whose value is a ``DcpMetadata``.

    Raises:
        FormatError: It is no such pickle, or a part of it is not what the library writes.
        ChangedError: It became shorter meanwhile.
        VanishedError: It is not there.
        ResumeDaemonError: It cannot be read.
    """
    with open_regular(path) as fd:
        loaded = load(FileSource(fd, path), path)
    try:
        for reference in loaded.references:
            _check_name(reference)
        metadata, problems = _parse(loaded.value)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise FormatError(_OPERATION, path, f"it is not what torch writes: {error}") from None
    return Content(
        value=metadata,
        shapes=metadata.tensors,
        references=loaded.references,
        problems=tuple(problems),
    )


def _parse(value: Any) -> tuple[DcpMetadata, list[Problem]]:
    state = _state(value, "Metadata")
    described = state["state_dict_metadata"]
    stored = state["storage_data"]
    if not isinstance(described, dict) or not isinstance(stored, dict):
        raise TypeError("its tables are no tables")
    tensors: dict[str, Shape] = {}
    objects: set[str] = set()
    chunks: dict[tuple[str, Shape], tuple[str | None, Shape]] = {}
    problems: list[Problem] = []
    for name, entry in described.items():
        if not isinstance(name, str):
            raise TypeError("a name is no text")
        kind = str(getattr(entry, "function", ""))
        if not kind.endswith("TensorStorageMetadata"):
            objects.add(name)
            chunks[name, ()] = (None, ())
            continue
        fields = _state(entry, "TensorStorageMetadata")
        tensors[name] = shape = _shape(fields["size"])
        dtype = _dtype(fields["properties"])
        pieces = [
            (_shape(piece["offsets"]), _shape(piece["sizes"]))
            for piece in (_state(each, "ChunkStorageMetadata") for each in fields["chunks"])
        ]
        problems += [Problem(ProblemKind.SHAPE, f"{name}: {why}") for why in _gaps(shape, pieces)]
        chunks |= {(name, offsets): (dtype, sizes) for offsets, sizes in pieces}
    shards: dict[str, list[Chunk]] = defaultdict(list)
    for index, info in stored.items():
        key = _state(index, "MetadataIndex")
        name, offsets = key["fqn"], _shape(key.get("offset") or ())
        if (name, offsets) not in chunks and name not in objects:
            raise ValueError(f"it stores {str(name)[:100]!r} at a place that it does not describe")
        dtype, shape = chunks.pop((name, offsets), (None, ()))
        place = _state(info, "_StorageInfo")
        begin, size = place["offset"], place["length"]
        if not all(type(number) is int and 0 <= number < _LARGEST for number in (begin, size)):
            raise ValueError("an offset or a length is no whole number")
        shards[_file_name(place["relative_path"])].append(
            Chunk(
                name, begin, size, dtype, offsets, shape, bool(place.get("transform_descriptors"))
            )
        )
    problems += [
        Problem(ProblemKind.PLACE, f"{name}: a part of it is stored in no shard")
        for name, _ in chunks
    ]
    return (
        DcpMetadata(
            tensors,
            frozenset(objects),
            {
                shard: tuple(sorted(pieces, key=lambda piece: piece.begin))
                for shard, pieces in sorted(shards.items())
            },
        ),
        problems[:_MOST_PROBLEMS],
    )


def _gaps(shape: Shape, pieces: list[tuple[Shape, Shape]]) -> Iterator[str]:
    """Yield how the pieces fail to tile a tensor: each inside, and all of its elements counted."""
    for offsets, sizes in pieces:
        if len(offsets) != len(shape) or len(sizes) != len(shape):
            yield "a piece has another number of dimensions"
            return
        if any(o + s > whole for o, s, whole in zip(offsets, sizes, shape, strict=True)):
            yield f"the piece at {list(offsets)} of {list(sizes)} reaches out of {list(shape)}"
            return
    covered, whole = sum(math.prod(sizes) for _, sizes in pieces), math.prod(shape)
    if covered != whole:
        yield f"its pieces hold {covered} elements, and the tensor has {whole}"


def _state(value: Any, kind: str) -> Mapping[str, Any]:
    """Return the attributes of an object of a class of ``torch.distributed.checkpoint``."""
    function, state = getattr(value, "function", None), getattr(value, "state", None)
    if not _is_named(function, kind) or not isinstance(state, dict):
        raise ValueError(f"there is no {kind} where one should be")
    return state


def _check_name(reference: Reference) -> None:
    """Raise where a name is one of the library's with another character in it."""
    if reference.module in _MODULES and reference.name not in _NAMES:
        for name in _NAMES:
            if one_character_apart(reference.name, name):
                raise ValueError(f"it names {reference.name!r}, which is {name} misspelt")


def one_character_apart(left: str, right: str) -> bool:
    """Return whether two names differ in one character, as after a flipped bit."""
    return len(left) == len(right) and sum(a != b for a, b in zip(left, right, strict=True)) == 1


def _is_named(function: Any, kind: str) -> bool:
    """Return whether a class is the library's; a writer of somebody else's may have its own."""
    if not isinstance(function, GlobalReference) or function.name != kind:
        return False
    return function.module in _MODULES or function.module.partition(".")[0] != "torch"


def _shape(value: Any) -> Shape:
    if not isinstance(value, (tuple, list)) or len(value) > _MOST_DIMENSIONS:
        raise TypeError("a shape is no list of numbers")
    if not all(type(number) is int and 0 <= number < _LARGEST for number in value):
        raise ValueError("a shape holds what is no whole number")
    return tuple(value)


def _dtype(properties: Any) -> str | None:
    """Return the element type of ``TensorProperties``, the first of its state."""
    if not _is_named(getattr(properties, "function", None), "TensorProperties"):
        raise ValueError("there are no TensorProperties where they should be")
    match getattr(properties, "state", None):
        case (GlobalReference("torch", name), *_):
            return TORCH_DTYPES.get(name)
    return None


def _file_name(value: Any) -> str:
    if not isinstance(value, str) or not value or "/" in value or value in {".", ".."}:
        raise ValueError(f"it names the shard {str(value)[:100]!r}, which lies outside")
    return value
