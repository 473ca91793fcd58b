"""What a reader found in a file, in the one form that layouts, checks and the scan share."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from resume_daemon.formats.inert_values import Reference
    from resume_daemon.formats.tensors import Frame, RecordSpan, TensorSpan


class Format(StrEnum):
    """How a file is encoded; each has a reader in ``resume_daemon.formats``."""

    SAFETENSORS = "safetensors"
    TORCH = "torch"
    """A file of ``torch.save``, or any other pickle."""
    JSON = "json"
    TEXT = "text"
    """A line or two, such as the name of the newest step."""
    YAML = "yaml"
    NPY = "npy"
    NPZ = "npz"
    PARQUET = "parquet"
    ZIP = "zip"
    """A plain zip archive, with archives of torch among its members."""
    DCP_METADATA = "dcp metadata"
    """What ``torch.distributed.checkpoint`` promises of the shards beside it."""
    DCP_SHARD = "dcp shard"
    """A shard of it, which only its metadata explains."""
    ARRAY_STORE = "array store"
    """The manifest of OCDBT, with the nodes of its tree in data files below it."""
    ARRAY = "array"
    """What describes one array of zarr, with its chunks in files below."""
    ARRAY_DATA = "array data"
    """A data file of a store, or a chunk of an array, which only that explains."""
    OPAQUE = "opaque"
    """Digested, never looked into."""


ARRAY_FORMATS: Final = frozenset({Format.ARRAY, Format.ARRAY_STORE, Format.ARRAY_DATA})
"""What the check of stores of arrays tells of, and no other."""


class ProblemKind(StrEnum):
    """How a file can contradict itself."""

    SIZE = "size"
    """It is shorter or longer than it says."""
    PLACE = "place"
    """Parts of it overlap, or bytes between them belong to none."""
    STORE = "store"
    """What a store says of an array is not what it holds."""
    SHAPE = "shape"
    """A shape or an element type does not agree with the bytes."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One contradiction in a file that could be read all the same."""

    kind: ProblemKind
    message: str


@dataclass(frozen=True, slots=True)
class Content:
    """What a file holds, as far as its reader looked.

    Attributes:
        value: The decoded document, or what was pickled as plain values and inert nodes.
        shapes: Of every tensor, by its name, or by its path in the value.
        spans: Stretches of values that lie in the file as they are; what the scan looks at.
        frames: Compressed chunks of arrays; their values are looked at after they are decoded.
        records: Stretches that have a checksum; the scan computes theirs.
        scalars: Where the bytes of each tensor of one element lie, by name.
        references: What loading the file would import.
        problems: Where it contradicts itself.
    """

    value: Any = None
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    spans: tuple[TensorSpan, ...] = ()
    frames: tuple[Frame, ...] = ()
    records: tuple[RecordSpan, ...] = ()
    scalars: Mapping[str, TensorSpan] = field(default_factory=dict)
    references: tuple[Reference, ...] = ()
    problems: tuple[Problem, ...] = ()
