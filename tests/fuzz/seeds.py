"""Good files of each format, made when they are needed: what inputs are mutations of."""

from __future__ import annotations

import io
import json
import struct
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.numpy import save

from resume_daemon.formats.content import Format
from resume_daemon.formats.ocdbt import MANIFEST_MAGIC
from resume_daemon.formats.zstd_frames import _library
from tests.fuzz.targets import ARRAYS
from tests.layouts.dcp import write_dcp
from tests.layouts.stable_baselines3 import serialized
from tests.ocdbt_files import leaf_body, manifest_body, sealed, shard, zarr_2, zarr_3
from tests.parquet_files import footer, parquet_file
from tests.torch_files import (
    Bfloat16,
    Global,
    Instance,
    Reduced,
    legacy_torch_file,
    pickled,
    torch_file,
    zip_archive,
)

if TYPE_CHECKING:
    from collections.abc import Callable

WEIGHT = np.arange(6, dtype=np.float32).reshape(2, 3)


def seeds(encoding: Format) -> list[bytes]:
    """Return inputs of the target of a format, each of which is read without an error."""
    return _SEEDS[encoding]()


def _json() -> list[bytes]:
    state = {"global_step": 10, "log_history": [{"loss": 0.5, "step": 1}], "best": None, "a": True}
    index = {"metadata": {"total_size": 24}, "weight_map": {"a": "model-1.safetensors"}}
    odd = '{"\\ud83d\\ude00": "\u00e9", "n": [NaN, -Infinity, 1e400, -0, 12345678901234567890]}'
    return [json.dumps(state, indent=2).encode(), json.dumps(index).encode(), odd.encode()]


def _text() -> list[bytes]:
    return [b"global_step10\n", "\u00e9 10".encode()]


def _yaml() -> list[bytes]:
    return [
        b"model: {path: a/b, lr: 1e-4}\nsteps: [1, 0x1F, 1:30, .inf, ~]\nbase: &b {a: 1}\nc: *b\n",
        b"a: !!python/object/apply:os.system ['true']\nb: !!python/name:os.path ''\n",
        b"d: 2001-12-14t21:59:43.10-05:00\nt: |\n  text\nf: >-\n  folded\n'q': \"\\u00e9\"\n",
    ]


def _safetensors() -> list[bytes]:
    tensors = {"a": WEIGHT, "b": np.arange(4, dtype=np.int64), "c": np.ones((), np.float16)}
    header = {
        "x": {"dtype": "F4", "shape": [2, 2], "data_offsets": [0, 2]},
        "y": {"dtype": "F8_E4M3", "shape": [3], "data_offsets": [2, 5]},
        "z": {"dtype": "BF16", "shape": [2], "data_offsets": [5, 9]},
    }
    raw = json.dumps(header).encode()
    packed = len(raw).to_bytes(8, "little") + raw + bytes(range(9))
    return [save(tensors, metadata={"format": "pt"}), packed]


def _arrays() -> list[Any]:
    record = np.zeros(2, [("a", "<f4", (2,)), ("b", "S3")])
    objects = np.array([{"a": 1}, None], dtype=object)
    return [WEIGHT, np.asfortranarray(WEIGHT), np.float64(1), record, objects, np.array(["text"])]


def _npy() -> list[bytes]:
    found = []
    for array in _arrays():
        stream = io.BytesIO()
        np.save(stream, array, allow_pickle=True)
        found.append(stream.getvalue())
    return found


def _npz() -> list[bytes]:
    found = []
    for write in (np.savez, np.savez_compressed):
        stream = io.BytesIO()
        write(stream, **{str(place): array for place, array in enumerate(_arrays())})
        found.append(stream.getvalue())
    return found


def _parquet() -> list[bytes]:
    return [parquet_file(footer()), parquet_file(footer(dictionary=8))]


def _state() -> dict[str, Any]:
    parameter = Reduced(Global("torch._utils", "_rebuild_parameter"), WEIGHT, True, {})
    return {
        "model": {"weight": parameter, "bias": Bfloat16([1.0, 2.0]), "count": np.array([3])},
        "kind": Global("torch", "float32"),
        "arguments": Instance(Global("argparse", "Namespace"), lr=1e-4, names={"a", "b"}),
        "text": "\u00e9",
        "numbers": [1, -1, 2**70, 0.5, None, True, (), b"bytes"],
    }


def _torch() -> list[bytes]:
    plain: dict[str, Any] = {"step": 10, "numbers": [1, 2**70, 0.5], "nested": {"a": ({1, 2},)}}
    hostile = Reduced(Global("os", "system"), "true")
    return [
        torch_file({"weight": WEIGHT}, folder="archive"),
        torch_file(_state(), folder="archive"),
        *(pickled(plain, protocol) for protocol in (0, 2, 4, 5)),
        pickled(hostile),
        legacy_torch_file(plain),
        legacy_torch_file({"weight": WEIGHT, "bias": Bfloat16([1.0, 2.0])}),
    ]


def _zip() -> list[bytes]:
    data = {"num_timesteps": 10, "policy": serialized(pickled({"a": [1, 2]}, 4)), "seed": None}
    members = [
        ("data", json.dumps(data).encode()),
        ("policy.pth", torch_file({"weight": WEIGHT}, folder="policy")),
        ("old.pth", legacy_torch_file({"step": 1, "weight": WEIGHT})),
        ("_stable_baselines3_version", b"2.9.2"),
    ]
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data", members[0][1])
        archive.writestr("info.json", b'{"a": 1}')
    return [zip_archive(members), zip_archive(members[:1]), stream.getvalue()]


def _dcp_metadata() -> list[bytes]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_dcp(folder, {"weight": WEIGHT}, {"state": {"step": 10}}, ranks=1)
        return [(folder / ".metadata").read_bytes()]


def _dcp_shard() -> list[bytes]:
    tensor = torch_file(WEIGHT, folder="archive")
    state = torch_file({"step": 10, "rng": [1, 2]}, folder="archive")
    return [struct.pack("<H", len(tensor)) + tensor + state]


def _array() -> list[bytes]:
    kinds = [zarr_2((2, 3), compressed=True), zarr_3((4, 3), (2, 3))]
    return [bytes([place]) + description for place, description in enumerate(kinds)]


def _array_store() -> list[bytes]:
    frame = _library().compress(WEIGHT.tobytes())
    inline = {
        "a/.zarray": zarr_2((2, 3), compressed=True),
        "a/0.0": frame,
        "b/zarr.json": zarr_3((4, 3), (2, 3)),
        "_strings.json": b"{}",
    }
    leaf = leaf_body(inline, {"b/c/0/0": (16, 32)})
    manifest = sealed(MANIFEST_MAGIC, manifest_body(None))
    return [b"\0" + manifest_body(None), b"\1" + leaf, b"\2" + leaf, b"\3" + manifest]


def _array_data() -> list[bytes]:
    frame = _library().compress(WEIGHT.tobytes())
    content = {"plain": WEIGHT.tobytes(), "compressed": frame, "sharded": shard([frame, frame])}
    return [bytes([place]) + content[array.name] for place, array in enumerate(ARRAYS)]


_SEEDS: dict[Format, Callable[[], list[bytes]]] = {
    Format.ARRAY: _array,
    Format.ARRAY_DATA: _array_data,
    Format.ARRAY_STORE: _array_store,
    Format.DCP_METADATA: _dcp_metadata,
    Format.DCP_SHARD: _dcp_shard,
    Format.JSON: _json,
    Format.NPY: _npy,
    Format.NPZ: _npz,
    Format.PARQUET: _parquet,
    Format.SAFETENSORS: _safetensors,
    Format.TEXT: _text,
    Format.TORCH: _torch,
    Format.YAML: _yaml,
    Format.ZIP: _zip,
}
