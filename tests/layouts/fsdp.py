"""What the ranks of FSDP save, each its own piece, made without torch (``torch.load`` reads it)."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import numpy as np

from tests.checkpoints import HIDDEN, optimizer_at, weights_at, write_json
from tests.torch_files import Global, Instance, Reduced, write_torch_file

if TYPE_CHECKING:
    from pathlib import Path

WORLD = 2

Array = np.ndarray[Any, Any]


def piece_of(array: Array, rank: int, world: int = WORLD) -> Array:
    """Return a rank's rows, as ``Shard(0)`` cuts them."""
    return np.ascontiguousarray(np.array_split(array, world)[rank])


def dtensor(array: Array, rank: int, world: int = WORLD) -> Reduced:
    """Return a DTensor that holds a rank's rows of an array (as torch 2.13 pickles it)."""
    lib = "torch.distributed"
    axes = Instance(Global(f"{lib}._mesh_layout", "_FlatLayout"), shape=(world,), stride=(1,))
    mesh = Instance(
        Global(f"{lib}.device_mesh", "DeviceMesh"),
        _device_type="cpu",
        _layout=Instance(Global(f"{lib}._mesh_layout", "_MeshLayout"), axes=(axes,)),
        _mesh_dim_names=("fsdp",),
        _rank_map=np.arange(world, dtype=np.int32),
    )
    size = Reduced(Global("torch", "Size"), array.shape)
    stride = tuple(length // array.itemsize for length in array.strides)
    kind = Global("torch", array.dtype.name)
    spec = Instance(
        Global(f"{lib}.tensor._dtensor_spec", "DTensorSpec"),
        mesh=mesh,
        placements=(Instance(Global(f"{lib}.tensor.placement_types", "Shard"), dim=0),),
        tensor_meta=Reduced(
            Global("copyreg", "__newobj__"),
            Global(f"{lib}.tensor._dtensor_spec", "TensorMeta"),
            size,
            stride,
            kind,
        ),
    )
    cls = Global(f"{lib}.tensor", "DTensor")
    arguments = (
        cls,
        kind,
        array.shape,
        stride,
        0,
        Reduced(Global("torch.serialization", "_get_layout"), "torch.strided"),
        Reduced(Global("torch", "device"), "cpu"),
        False,
    )
    return Reduced(
        Global("torch._tensor", "_rebuild_from_type_v2"),
        Global("torch._utils", "_rebuild_wrapper_subclass"),
        cls,
        arguments,
        (None, {"_local_tensor": piece_of(array, rank, world), "_spec": spec}),
    )


def write_shards(
    folder: Path, step: int, *, world: int = WORLD, seed: int = 0, trained: int = 4
) -> None:
    """Write what every rank saves of one model that makes ``trained`` optimizer steps a step.

    Args:
        folder: ``actor``, ``policy`` and the like.
        step: The trainer's.
        world: How many ranks there are.
        seed: Makes models of one step differ.
        trained: Optimizer steps for each of the trainer's.
    """
    folder.mkdir(parents=True, exist_ok=True)
    whole = optimizer_at(step * trained)
    for rank in range(world):
        suffix = f"world_size_{world}_rank_{rank}.pt"
        model = OrderedDict(
            (name, dtensor(array, rank, world)) for name, array in weights_at(step + seed).items()
        )
        write_torch_file(folder / f"model_{suffix}", model)
        state = {
            number: {
                key: value if key == "step" else dtensor(value, rank, world)
                for key, value in entry.items()
            }
            for number, entry in whole["state"].items()
        }
        optimizer = {"state": state, "param_groups": whole["param_groups"]}
        write_torch_file(folder / f"optim_{suffix}", optimizer)
        extra = {
            "lr_scheduler": {"base_lrs": [1e-6], "last_epoch": step, "_step_count": step + 1},
            "rng": {
                "cpu": np.random.default_rng(step + rank).integers(0, 255, 5056).astype(np.uint8),
                "random": (3, (step, rank), None),
            },
        }
        write_torch_file(folder / f"extra_state_{suffix}", extra)


def write_huggingface(folder: Path) -> None:
    """Write the configuration and tokenizer that rank 0 puts beside the shards."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "config.json", {"model_type": "qwen2", "hidden_size": HIDDEN})
    write_json(folder / "generation_config.json", {"eos_token_id": 1})
    write_json(folder / "tokenizer.json", {"model": {"type": "WordLevel", "vocab": {}}})
    write_json(folder / "tokenizer_config.json", {"model_max_length": 64})


def data_at(step: int) -> dict[str, Any]:
    """Return the state of torchdata's ``StatefulDataLoader``."""
    return {
        "_snapshot": {
            "_snapshot_step": step,
            "_last_yielded_worker_id": 0,
            "_main_snapshot": {"_num_workers": 0, "_sampler_iter_state": None},
        },
        "_steps_since_snapshot": 0,
        "_iterator_finished": False,
        "_num_yielded": step,
    }
