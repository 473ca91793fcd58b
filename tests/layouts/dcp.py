"""Directories of ``torch.distributed.checkpoint``, made without torch: two ranks, rows shared."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import numpy as np

from tests.checkpoints import SHAPES, optimizer_at, weights_at
from tests.torch_files import Global, Instance, Reduced, pickled, torch_file

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_METADATA = "torch.distributed.checkpoint.metadata"
_DTYPES = {"float32": "float32", "float64": "float64", "int64": "int64", "uint8": "uint8"}


def write_dcp(
    folder: Path, tensors: Mapping[str, Any], objects: Mapping[str, Any], *, ranks: int = 2
) -> None:
    """Write a DCP directory: each tensor of several rows is shared out, the rest is rank 0's.

    Args:
        folder: Where; it is made.
        tensors: Arrays by name.
        objects: What is no tensor, by name.
        ranks: How many write.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shards: list[bytearray] = [bytearray() for _ in range(ranks)]
    described: dict[str, Any] = {}
    stored: dict[Instance, Instance] = {}

    def store(rank: int, name: str, value: Any, offset: tuple[int, ...] | None) -> None:
        content = torch_file(value, folder="archive")
        index = Instance(Global(_METADATA, "MetadataIndex"), fqn=name, offset=_size(offset))
        stored[index] = Instance(
            Global("torch.distributed.checkpoint.filesystem", "_StorageInfo"),
            relative_path=f"__{rank}_0.distcp",
            offset=len(shards[rank]),
            length=len(content),
        )
        shards[rank] += content

    for name, array in tensors.items():
        rows = array.shape[0] if array.ndim > 1 else 0
        cut = -(-rows // ranks)
        pieces = [(r, array[r * cut : (r + 1) * cut]) for r in range(ranks)] if rows else []
        chunks = []
        for rank, piece in pieces or [(0, array)]:
            offset = (rank * cut, *(0,) * (array.ndim - 1)) if array.ndim else ()
            store(rank, name, np.ascontiguousarray(piece).reshape(piece.shape), offset)
            chunks.append(_chunk(offset, piece.shape))
        described[name] = Instance(
            Global(_METADATA, "TensorStorageMetadata"),
            properties=_properties(array.dtype.name),
            size=_size(array.shape),
            chunks=chunks,
        )
    for name, value in objects.items():
        store(0, name, value, None)
        described[name] = Instance(Global(_METADATA, "BytesStorageMetadata"))
    for rank, content in enumerate(shards):
        (folder / f"__{rank}_0.distcp").write_bytes(content)
    metadata = Instance(
        Global(_METADATA, "Metadata"),
        state_dict_metadata=described,
        planner_data={name: (name,) for name in described},
        storage_data=stored,
        storage_meta=None,
        version="1.0.0",
    )
    (folder / ".metadata").write_bytes(pickled(metadata, pickle.DEFAULT_PROTOCOL))


def _size(shape: tuple[int, ...] | None) -> Reduced | None:
    return None if shape is None else Reduced(Global("torch", "Size"), tuple(shape))


def _chunk(offset: tuple[int, ...], shape: tuple[int, ...]) -> Instance:
    return Instance(
        Global(_METADATA, "ChunkStorageMetadata"), offsets=_size(offset), sizes=_size(shape)
    )


def _properties(dtype: str) -> Instance:
    encoding = Reduced(Global(_METADATA, "_MEM_FORMAT_ENCODING"), 0)
    return Instance(
        Global(_METADATA, "TensorProperties"),
        _state=(
            Global("torch", _DTYPES[dtype]),
            Reduced(Global("torch.serialization", "_get_layout"), "torch.strided"),
            False,
            encoding,
            False,
        ),
    )


def state_at(step: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the tensors and objects of a whole training state."""
    tensors: dict[str, Any] = {f"model.{name}": a for name, a in weights_at(step).items()}
    moments = optimizer_at(step)["state"]
    for number, name in enumerate(SHAPES):
        for kind, array in moments[number].items():
            tensors[f"optimizer.state.{name}.{kind}"] = array
    objects = {
        "lr_scheduler": {"last_epoch": step, "base_lrs": [1e-5]},
        "train_state": {"step": step},
    }
    return tensors, objects


def write_bare(run: Path, step: int) -> Path:
    """Write ``ckpt-N``: weights, optimizer and schedule in one DCP directory."""
    checkpoint = run / f"ckpt-{step}"
    write_dcp(checkpoint, *state_at(step))
    return checkpoint


BUILDERS = {"dcp": write_bare}
