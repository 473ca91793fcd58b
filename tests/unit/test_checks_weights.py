from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.checkpoints import (
    SHAPES,
    shard,
    weights_at,
    write_adapter_checkpoint,
    write_checkpoint,
    write_json,
)
from tests.layouts.deepspeed import write_inside_huggingface
from tests.torch_files import write_torch_file
from tests.verifying import found, told, verified

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return write_checkpoint(tmp_path, 10)


def edit_header(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    content = path.read_bytes()
    (length,) = struct.unpack_from("<Q", content)
    header = json.loads(content[8 : 8 + length])
    change(header)
    document = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(document)) + document + content[8 + length :])


# One file


@pytest.mark.parametrize("change", [-1, 1, -5000], ids=["byte-less", "byte-more", "page-less"])
def test_a_file_of_another_length_than_its_header_says_is_an_error(
    checkpoint: Path, change: int
) -> None:
    content = (checkpoint / WEIGHTS).read_bytes()
    (checkpoint / WEIGHTS).write_bytes(content[:change] if change < 0 else content + b"\1")

    assert told(verified(checkpoint)) == ["RD202 error"]


def test_tensors_that_overlap_are_an_error(checkpoint: Path) -> None:
    def overlap(header: dict[str, Any]) -> None:
        begin, end = header["model.norm.weight"]["data_offsets"]
        header["model.norm.weight"]["data_offsets"] = [begin - 256, end - 256]

    edit_header(checkpoint / WEIGHTS, overlap)

    assert "RD203 error" in told(verified(checkpoint))


@pytest.mark.parametrize("key", ["shape", "dtype"])
def test_a_tensor_that_does_not_fill_its_bytes_is_an_error(checkpoint: Path, key: str) -> None:
    def change(header: dict[str, Any]) -> None:
        header["model.norm.weight"][key] = [63] if key == "shape" else "F16"

    edit_header(checkpoint / WEIGHTS, change)
    verification = verified(checkpoint)

    assert "RD204 error" in told(verification)
    assert found(verification, "RD204").file == WEIGHTS


@pytest.mark.parametrize("shape", [None, (0,), (0, 64)], ids=["none", "empty", "empty-rows"])
def test_weights_without_values_are_an_error(
    checkpoint: Path, shape: tuple[int, ...] | None
) -> None:
    tensors = {} if shape is None else {name: np.zeros(shape, np.float32) for name in SHAPES}
    save_file(tensors, checkpoint / WEIGHTS)

    assert told(verified(checkpoint))[0] == "RD207 error"


def test_weights_that_an_engine_gathers_elsewhere_may_be_empty_here(tmp_path: Path) -> None:
    checkpoint = write_inside_huggingface(tmp_path / "engine", 10)
    save_file({name: np.zeros(0, np.float32) for name in SHAPES}, checkpoint / WEIGHTS)

    assert told(verified(checkpoint)) == []


def test_a_buffer_without_values_is_no_matter(checkpoint: Path) -> None:
    save_file({**weights_at(10), "buffer": np.zeros((0,), np.float32)}, checkpoint / WEIGHTS)

    assert told(verified(checkpoint)) == []


@pytest.mark.parametrize("dtype", ["F8_E4M3", "F8_E5M2", "BF16", "F16"])
def test_weights_of_any_type_are_read(checkpoint: Path, dtype: str) -> None:
    shape = (64, 64)
    width = 1 if dtype.startswith("F8") else 2
    size = 64 * 64 * width
    header = json.dumps({"w": {"dtype": dtype, "shape": shape, "data_offsets": [0, size]}}).encode()
    values = np.random.default_rng(1).integers(0x20, 0x30, size, np.uint8).tobytes()
    (checkpoint / WEIGHTS).write_bytes(struct.pack("<Q", len(header)) + header + values)
    (checkpoint / "optimizer.pt").unlink()

    assert told(verified(checkpoint)) == ["RD104 warning"]


# Torch files


def test_tied_weights_that_share_a_storage_are_fine(checkpoint: Path) -> None:
    (checkpoint / WEIGHTS).unlink()
    weights = weights_at(10)
    tied = {**weights, "lm_head.weight": weights["model.embed_tokens.weight"]}
    write_torch_file(checkpoint / "pytorch_model.bin", tied)

    assert told(verified(checkpoint)) == []


def test_shards_of_torch_files_are_held_against_their_index(checkpoint: Path) -> None:
    (checkpoint / WEIGHTS).unlink()
    weights = weights_at(10)
    names = sorted(weights)
    shards = {f"pytorch_model-0000{n}-of-00002.bin": names[n - 1 :: 2] for n in (1, 2)}
    for shard_name, own in shards.items():
        write_torch_file(checkpoint / shard_name, {name: weights[name] for name in own})
    weight_map = {name: shard_name for shard_name, own in shards.items() for name in own}
    write_json(checkpoint / "pytorch_model.bin.index.json", {"weight_map": weight_map})
    assert told(verified(checkpoint)) == []

    weight_map["another"] = "pytorch_model-00001-of-00002.bin"
    write_json(checkpoint / "pytorch_model.bin.index.json", {"weight_map": weight_map})
    assert told(verified(checkpoint)) == ["RD205 error"]


# Shards


def test_shards_and_their_index_agree(checkpoint: Path) -> None:
    shard(checkpoint)

    assert told(verified(checkpoint)) == []


def test_a_tensor_that_the_index_promises_and_no_shard_holds_is_an_error(checkpoint: Path) -> None:
    shard(checkpoint)
    name = "model-00001-of-00003.safetensors"
    save_file({"other": np.ones(4, np.float32)}, checkpoint / name)
    messages = [f.message for f in verified(checkpoint).findings if f.code == "RD205"]

    assert any("tensors that the index promises" in message for message in messages)
    assert any("in shards but not in the index: other" in message for message in messages)


@pytest.mark.parametrize(
    "weight_map", [None, [], {"a": 5}, {"a": None}], ids=["none", "list", "number", "null"]
)
def test_an_index_that_is_no_map_is_an_error(checkpoint: Path, weight_map: Any) -> None:
    shard(checkpoint)
    write_json(checkpoint / INDEX, {"weight_map": weight_map})

    assert "RD205 error" in told(verified(checkpoint))


def test_an_index_that_points_outside_is_an_error(checkpoint: Path) -> None:
    shard(checkpoint)
    document = json.loads((checkpoint / INDEX).read_text())
    document["weight_map"]["evil"] = "../../secret.safetensors"
    write_json(checkpoint / INDEX, document)
    messages = [f.message for f in verified(checkpoint).findings if f.code == "RD205"]

    assert messages == [f"{INDEX}: it points outside the checkpoint: '../../secret.safetensors'"]


def test_shards_of_two_saves_are_an_error(checkpoint: Path) -> None:
    shard(checkpoint)
    save_file({"x": np.ones(4, np.float32)}, checkpoint / "model-00004-of-00004.safetensors")

    assert "RD206 error" in told(verified(checkpoint))


def test_more_shards_than_their_names_promise_are_an_error(checkpoint: Path) -> None:
    shard(checkpoint)
    save_file({"x": np.ones(4, np.float32)}, checkpoint / "model-00004-of-00003.safetensors")

    assert "RD206 error" in told(verified(checkpoint))


def test_an_adapter_has_no_index(tmp_path: Path) -> None:
    assert told(verified(write_adapter_checkpoint(tmp_path, 10))) == []
