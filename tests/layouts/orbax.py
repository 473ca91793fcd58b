"""Checkpoints as Orbax's CheckpointManager leaves them: arrays by tensorstore, documents by hand.

The store is written as Orbax writes it: each process into a tree of its own, which is then merged
into one that references its data (``serialization/ocdbt_utils.py``). Data files have random names.
"""

from __future__ import annotations

import base64
import json
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import tensorstore

from tests.checkpoints import SHAPES, optimizer_at, weights_at

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_ITEM: Final = "default"
_CONTEXT: Final = {"cache_pool#ocdbt": {"total_bytes_limit": 100_000_000}}
_OPTIONS: Final = {
    "driver": "ocdbt",
    "cache_pool": "cache_pool#ocdbt",
    "target_data_file_size": 2**31,
    "assume_config": True,
    "config": {
        "max_inline_value_bytes": 1024,
        "max_decoded_node_bytes": 100_000_000,
        "manifest_kind": "single",
    },
}
"""As ``tensorstore_utils.py: _add_ocdbt_write_options``."""


def state_at(step: int) -> dict[str, Any]:
    """Return a training state, flat: names with dots are those of a tree."""
    moments = optimizer_at(step)["state"]
    state: dict[str, Any] = {f"params.{name}": array for name, array in weights_at(step).items()}
    for number, name in enumerate(SHAPES):
        state[f"opt_state.mu.{name}"] = moments[number]["exp_avg"]
        state[f"opt_state.nu.{name}"] = moments[number]["exp_avg_sq"]
    return state | {"opt_state.count": np.array(step, np.int32), "step": step, "name": "adam"}


def write_arrays(
    folder: Path, arrays: Mapping[str, Any], *, zarr3: bool = False, ocdbt: bool = True
) -> None:
    """Write arrays as Orbax does: each is one chunk, compressed with Zstandard."""
    context, transaction = tensorstore.Context(_CONTEXT), tensorstore.Transaction(atomic=ocdbt)
    whole: dict[str, Any] = {**_OPTIONS, "base": f"file://{folder}/"}
    process = {**_OPTIONS, "base": f"file://{folder}/ocdbt.process_0/"}
    for name, value in arrays.items():
        array = np.asarray(value)
        spec = {
            "driver": "zarr3" if zarr3 else "zarr",
            "kvstore": {**process, "path": f"{name}/"} if ocdbt else f"file://{folder}/{name}/",
            "metadata": _zarr_3(array.shape) if zarr3 else _zarr_2(array.shape),
            "dtype": array.dtype.name,
            "create": True,
            "store_data_equal_to_fill_value": True,
        }
        place = tensorstore.open(
            spec, context=context, transaction=transaction if ocdbt else None
        ).result()
        place.write(array).result()
    if ocdbt:
        transaction.commit_async().result()
        merging = tensorstore.Transaction(atomic=True)
        parent = tensorstore.KvStore.open(whole, context=context).result()
        child = tensorstore.KvStore.open(process, context=context).result()
        child.experimental_copy_range_to(parent.with_transaction(merging)).result()
        merging.commit_async().result()


def _zarr_2(shape: tuple[int, ...]) -> dict[str, Any]:
    return {"shape": shape, "chunks": shape, "compressor": {"id": "zstd", "level": 1}}


def _zarr_3(shape: tuple[int, ...]) -> dict[str, Any]:
    plain = {"name": "bytes", "configuration": {"endian": "little"}}
    sharding = {
        "chunk_shape": shape,
        "codecs": [plain, {"name": "zstd", "configuration": {"level": 3}}],
        "index_codecs": [plain, {"name": "crc32c"}],
        "index_location": "end",
    }
    return {
        "shape": shape,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": shape}},
        "codecs": [{"name": "sharding_indexed", "configuration": sharding}],
    }


def write_item(folder: Path, state: Mapping[str, Any], *, zarr3: bool, ocdbt: bool) -> None:
    """Write an item of a tree of arrays: the store, and the documents beside it."""
    folder.mkdir(parents=True)
    kinds = {name: _kind(value) for name, value in state.items()}
    arrays = {name: value for name, value in state.items() if kinds[name] != "string"}
    write_arrays(folder, arrays, zarr3=zarr3, ocdbt=ocdbt)
    on_devices = [name for name, kind in kinds.items() if kind == "jax.Array"]
    tree = {
        "tree_metadata": {
            str(tuple(name.split("."))): {
                "key_metadata": [{"key": key, "key_type": 2} for key in name.split(".")],
                "value_metadata": {"value_type": kinds[name], "skip_deserialize": False},
            }
            for name in state
        },
        "use_ocdbt": ocdbt,
        "use_zarr3": zarr3,
        "store_array_data_equal_to_fill_value": True,
        "custom_metadata": None,
    }
    _write(folder / "_METADATA", tree)
    device = json.dumps({"sharding_type": "SingleDeviceSharding", "device_str": "cpu:0"})
    names = [base64.b64encode(name.encode()).decode() for name in on_devices]
    _write(folder / "_sharding", dict.fromkeys(names, device))
    texts = {name: value for name, value in state.items() if kinds[name] == "string"}
    _write(folder / "_strings.json", texts)
    shapes = [
        {
            "array_metadata": {
                "param_name": name,
                "write_shape": state[name].shape,
                "chunk_shape": state[name].shape,
                "ext_metadata": None,
            }
        }
        for name in on_devices
    ]
    (folder / "array_metadatas").mkdir()
    _write(folder / "array_metadatas" / "process_0", {"array_metadatas": shapes})
    _commit(folder)


def _kind(value: Any) -> str:
    if isinstance(value, str):
        return "string"
    return "jax.Array" if isinstance(value, np.ndarray) else "scalar"


def _write(path: Path, document: Any) -> None:
    path.write_text(json.dumps(document), encoding="utf-8")


def _commit(folder: Path) -> None:
    text = f"Checkpoint commit was successful to {folder}"
    (folder / "commit_success.txt").write_text(text, encoding="utf-8")


def write_checkpoint(run: Path, step: int, *, zarr3: bool = False, ocdbt: bool = True) -> Path:
    """Write ``N`` as ``CheckpointManager.save`` with one item does."""
    checkpoint = run / str(step)
    write_item(checkpoint / _ITEM, state_at(step), zarr3=zarr3, ocdbt=ocdbt)
    handler = "orbax.checkpoint._src.handlers.pytree_checkpoint_handler.PyTreeCheckpointHandler"
    document = {
        "item_handlers": {_ITEM: handler},
        "metrics": {},
        "performance_metrics": {},
        "init_timestamp_nsecs": step * 10**9,
        "commit_timestamp_nsecs": step * 10**9 + 1,
        "custom_metadata": {},
    }
    _write(checkpoint / "_CHECKPOINT_METADATA", document)
    _commit(checkpoint)
    return checkpoint


BUILDERS = {
    "orbax": write_checkpoint,
    "orbax-zarr3": partial(write_checkpoint, zarr3=True),
    "orbax-plain": partial(write_checkpoint, ocdbt=False),
    "orbax-plain-zarr3": partial(write_checkpoint, ocdbt=False, zarr3=True),
}
