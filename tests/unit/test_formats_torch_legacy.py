"""Torch files from before the archives: tensors are found with their bytes, or a fault is."""

from __future__ import annotations

import pickle
import pickletools
import struct
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resume_daemon.errors import FormatError
from resume_daemon.formats import pickle_opcodes, pickle_source
from resume_daemon.formats.torch_file import read_torch_file, scalar_value
from tests.torch_files import (
    Global,
    Reduced,
    Storage,
    legacy_torch_file,
    write_legacy_torch_file,
)

if TYPE_CHECKING:
    from pathlib import Path

    from resume_daemon.formats.torch_storages import TorchFile

WEIGHTS: dict[str, Any] = {
    "step": np.array(7.0, np.float32),
    "w": np.arange(6, dtype=np.float64).reshape(2, 3),
    "mask": np.array([True, False, True]),
    "empty": np.zeros((0, 4), np.float32),
}


def saved(path: Path, value: Any) -> TorchFile:
    """Write and read one."""
    write_legacy_torch_file(path, value)
    return read_torch_file(path)


@pytest.mark.parametrize("filler", [0, 200])
def test_every_tensor_is_found_with_its_bytes(
    filler: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pickle_source, "_WINDOW", 100)
    monkeypatch.setattr(pickle_opcodes, "_WINDOW", 64)
    path = tmp_path / "old.pt"
    found = saved(path, {"a": "x" * filler, **WEIGHTS})
    raw = path.read_bytes()
    assert (found.archive, found.value["a"]) == (None, "x" * filler)
    assert [span.name for span in found.storages] == list(WEIGHTS)
    for (name, array), storage in zip(WEIGHTS.items(), found.storages, strict=True):
        assert storage.shape == array.shape
        assert raw[storage.begin : storage.end] == array.tobytes()
        assert found.tensors[name].span == storage
    assert scalar_value(path, found.tensors["step"].span) == 7.0
    assert found.storages[-1].end == len(raw)


def test_two_views_of_one_storage_are_placed_in_it(tmp_path: Path) -> None:
    path = tmp_path / "old.pt"
    storage = Storage("FloatStorage", np.arange(6, dtype=np.float32).tobytes(), 6)
    call = Global("torch._utils", "_rebuild_tensor_v2")
    rows = [Reduced(call, storage, 3 * row, (3,), (1,), False, {}) for row in range(2)]
    columns = Reduced(call, storage, 0, (3, 2), (1, 3), False, {})
    found = saved(path, {"rows": rows, "columns": columns})
    second = found.tensors["rows.1"].span
    assert second is not None
    assert path.read_bytes()[second.begin : second.end] == struct.pack("<3f", 3, 4, 5)
    # What the first tensor is a part of is one dimension of elements.
    assert [(span.name, span.shape) for span in found.storages] == [("rows.0", (6,))]


def test_a_transposed_matrix_is_one_dimension_of_elements(tmp_path: Path) -> None:
    storage = Storage("FloatStorage", bytes(24), 6)
    call = Global("torch._utils", "_rebuild_tensor_v2")
    found = saved(tmp_path / "old.pt", [Reduced(call, storage, 0, (3, 2), (1, 3), False, {})])
    assert [span.shape for span in found.storages] == [(6,)]
    assert found.tensors["0"].shape == (3, 2)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ([], "the storage '0' of tensor 'w' is missing"),
        (["1"], "the storage '0' of tensor 'w' is missing"),
        (["0", "0"], "no list of names"),
        ([0], "no list of names"),
        ({"0": 1}, "no list of names"),
        (None, "no list of names"),
    ],
)
def test_keys_that_do_not_name_each_storage_once_are_refused(
    tmp_path: Path, keys: Any, words: str
) -> None:
    path = tmp_path / "old.pt"
    content = legacy_torch_file({"w": np.zeros(3)})
    path.write_bytes(content.replace(pickle.dumps(["0"], 2), pickle.dumps(keys, 2)))
    with pytest.raises(FormatError, match=words):
        read_torch_file(path)


@pytest.mark.parametrize("count", [0, 2, 4, 2**62, -1, -(2**63)])
def test_a_count_that_is_not_the_one_described_is_refused(tmp_path: Path, count: int) -> None:
    path = tmp_path / "old.pt"
    content = bytearray(legacy_torch_file({"w": np.zeros(3)}))
    content[-32:-24] = struct.pack("<q", count)
    path.write_bytes(content)
    with pytest.raises(FormatError, match="of another size than is described"):
        read_torch_file(path)


def test_a_tensor_that_claims_more_of_a_shared_storage_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "old.pt"
    content = legacy_torch_file([np.zeros(3), np.zeros(3)])
    # The second tensor refers to the first storage, and says that it has 9 elements.
    at = content.rindex(b"X\x01\x00\x00\x001", 0, content.index(pickle.dumps(["0", "1"], 2)))
    changed = bytearray(content)
    changed[at + 5 : at + 6] = b"0"
    changed[changed.index(b"K\x03", at)] = ord("K")
    changed[changed.index(b"K\x03", at) + 1] = 9
    path.write_bytes(bytes(changed).replace(pickle.dumps(["0", "1"], 2), pickle.dumps(["0"], 2)))
    with pytest.raises(FormatError, match="of another size than is described"):
        read_torch_file(path)


@pytest.mark.parametrize("less", [1, 8, 24, 25, 40])
def test_a_file_that_is_cut_short_is_told(tmp_path: Path, less: int) -> None:
    path = tmp_path / "old.pt"
    path.write_bytes(legacy_torch_file({"w": np.zeros(3)})[:-less])
    with pytest.raises(FormatError, match="cut short"):
        read_torch_file(path)


def test_what_follows_the_storages_is_left_alone_as_by_torch(tmp_path: Path) -> None:
    path = tmp_path / "old.pt"
    path.write_bytes(legacy_torch_file({"w": np.zeros(3)}) + b"another file")
    assert [span.size for span in read_torch_file(path).storages] == [24]


def test_behind_a_storage_of_unknown_width_nothing_is_placed(tmp_path: Path) -> None:
    bare = Storage("FloatStorage", bytes(8), 2)
    found = saved(tmp_path / "old.pt", [np.zeros(3), bare, np.ones(3)])
    assert [span.name for span in found.storages] == ["0"]
    assert found.tensors["2"].span is None


def test_a_file_of_a_big_endian_machine_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "old.pt"
    path.write_bytes(legacy_torch_file({"w": np.zeros(3)}, little_endian=False))
    with pytest.raises(FormatError, match="big-endian"):
        read_torch_file(path)


@pytest.mark.parametrize("place", range(5))
def test_what_any_of_its_pickles_names_is_told(tmp_path: Path, place: int) -> None:
    path = tmp_path / "old.pt"
    content = legacy_torch_file({"w": np.zeros(3)})
    pieces, begin = [], 0
    for _ in range(5):
        end = begin + len(pickle_at(content, begin))
        pieces.append(content[begin:end])
        begin = end
    # POP takes the result of the call away again.
    pieces[place] = b"\x80\x02cos\nsystem\nX\x04\0\0\0true\x85R0" + pieces[place][2:]
    path.write_bytes(b"".join(pieces) + content[begin:])
    found = read_torch_file(path)
    assert ("os", "system") in {(each.module, each.name) for each in found.references}


def pickle_at(content: bytes, begin: int) -> bytes:
    """Return the pickle that begins there."""
    *_, (_, _, last) = pickletools.genops(content[begin:])
    assert last is not None
    return content[begin : begin + last + 1]


@given(st.data())
def test_a_damaged_file_raises_nothing_but_a_format_error(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.pt"
    raw = bytearray(legacy_torch_file({"a": np.zeros(3), "b": [np.ones((2, 2))], "lr": 0.1}))
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(raw)
    with suppress(FormatError):
        found = read_torch_file(path)
        assert all(0 < span.begin <= span.end <= len(raw) for span in found.storages)
