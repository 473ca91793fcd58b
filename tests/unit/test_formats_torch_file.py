from __future__ import annotations

import pickle
import zipfile
from collections import OrderedDict
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resume_daemon.errors import FormatError
from resume_daemon.formats import torch_tensors
from resume_daemon.formats.dtypes import BITS, TORCH_DTYPES, TORCH_STORAGES
from resume_daemon.formats.inert_pickle import Call
from resume_daemon.formats.torch_file import read_torch_file, scalar_value
from resume_daemon.formats.torch_tensors import TensorReference
from tests.torch_files import Bfloat16, Global, Reduced, Storage, write_torch_file, zip_archive

if TYPE_CHECKING:
    from pathlib import Path

    from resume_daemon.formats.torch_storages import TorchFile

NAMES = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "int64": "I64",
    "int32": "I32",
    "int16": "I16",
    "int8": "I8",
    "uint8": "U8",
    "bool": "BOOL",
    "complex64": "C64",
    "complex128": "C128",
}


def saved(path: Path, value: Any, **options: Any) -> TorchFile:
    write_torch_file(path, value, **options)
    return read_torch_file(path)


CONTENT = b"0123456789abcdef"


def tensor(
    shape: Any,
    stride: Any,
    *,
    offset: Any = 0,
    elements: int = 4,
    content: bytes | None = CONTENT,
    dtype: str = "",
) -> Reduced:
    """Return a tensor of a storage of four numbers, by the words of the pickle."""
    storage = Storage("UntypedStorage" if dtype else "FloatStorage", content, elements)
    name = "_rebuild_tensor_v3" if dtype else "_rebuild_tensor_v2"
    more = (Global("torch", dtype),) if dtype else ()
    return Reduced(
        Global("torch._utils", name), storage, offset, shape, stride, False, OrderedDict(), *more
    )


@given(
    st.dictionaries(
        st.text(st.characters(min_codepoint=48, max_codepoint=122), min_size=1, max_size=8),
        st.tuples(st.sampled_from(sorted(NAMES)), st.lists(st.integers(0, 4), max_size=3)),
        max_size=6,
    )
)
def test_every_tensor_is_found_with_its_bytes(
    tmp_path_factory: pytest.TempPathFactory, arrays: dict[str, tuple[str, list[int]]]
) -> None:
    path = tmp_path_factory.getbasetemp() / "model.pt"
    content = {
        name: (np.arange(np.prod(shape)).astype(dtype).reshape(shape))
        for name, (dtype, shape) in arrays.items()
    }
    found = saved(path, OrderedDict(content))
    raw = path.read_bytes()
    assert list(found.tensors) == list(arrays)
    assert found.value == found.tensors
    assert [span.name for span in found.storages] == list(arrays)
    for (name, array), storage in zip(content.items(), found.storages, strict=True):
        reference = found.tensors[name]
        assert reference.span is not None
        assert (reference.span.name, reference.dtype) == (name, NAMES[arrays[name][0]])
        assert reference.shape == array.shape
        assert raw[reference.span.begin : reference.span.end] == array.tobytes()
        assert (storage.begin, storage.end) == (reference.span.begin, reference.span.end)
        assert storage.shape == array.shape


@given(st.data())
def test_a_damaged_file_raises_nothing_but_a_format_error(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.pt"
    write_torch_file(path, {"a": np.zeros(3, np.float32), "b": [np.ones((2, 2))], "lr": 0.1})
    raw = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(60, 400))] = data.draw(st.integers(0, 255))
    path.write_bytes(raw)
    with suppress(FormatError):
        read_torch_file(path)


def test_an_optimizer_is_read_with_its_steps(tmp_path: Path) -> None:
    path = tmp_path / "optimizer.pt"
    state = {
        index: {"step": np.array(7.0, np.float32), "exp_avg": np.ones((2, 3), np.float32)}
        for index in range(3)
    }
    groups = [{"lr": 1e-5, "betas": (0.9, 0.999), "params": [0, 1, 2]}]
    found = saved(path, {"state": state, "param_groups": groups})
    assert found.value["param_groups"] == groups
    assert list(found.tensors)[:2] == ["state.0.step", "state.0.exp_avg"]
    assert [scalar_value(path, found.value["state"][n]["step"].span) for n in range(3)] == [7.0] * 3
    assert scalar_value(path, found.tensors["state.0.exp_avg"].span) is None
    assert {reference.name for reference in found.references} == {
        "_rebuild_tensor_v2",
        "FloatStorage",
        "OrderedDict",
    }


@pytest.mark.parametrize("dtype", [name for name in NAMES if "complex" not in name])
def test_a_single_element_of_every_type_is_read(dtype: str, tmp_path: Path) -> None:
    path = tmp_path / "scalar.pt"
    found = saved(path, {"step": np.array(1, dtype), "one": np.array([[1]], dtype)})
    assert scalar_value(path, found.value["step"].span) == 1
    assert scalar_value(path, found.value["one"].span) == 1


def test_a_single_bfloat16_is_read_and_a_complex_number_is_not(tmp_path: Path) -> None:
    path = tmp_path / "scalar.pt"
    found = saved(path, {"half": Bfloat16([-2.5]), "complex": np.array(1j, np.complex64)})
    assert found.tensors["half"].dtype == "BF16"
    assert scalar_value(path, found.tensors["half"].span) == -2.5
    assert scalar_value(path, found.tensors["complex"].span) is None


def test_a_tensor_in_two_places_has_two_names_and_one_storage(tmp_path: Path) -> None:
    shared = np.zeros(4, np.float32)
    found = saved(tmp_path / "model.bin", {"embed": shared, "head": shared})
    assert found.tensors["embed"] is found.tensors["head"]
    span = found.tensors["head"].span
    assert span is not None
    assert span.name == "embed"
    assert [span.name for span in found.storages] == ["embed"]


def test_names_that_fall_together_stay_apart(tmp_path: Path) -> None:
    value = {"a.b": np.zeros(1), "a": {"b": np.ones(1)}, 1: [np.zeros(2)], (0,): np.zeros(3)}
    found = saved(tmp_path / "model.bin", value)
    assert list(found.tensors) == ["a.b", "a.b#2", "1.0", "<3>"]


def test_a_tensor_alone_has_a_name_too(tmp_path: Path) -> None:
    assert list(saved(tmp_path / "x.pt", np.zeros(2)).tensors) == ["tensor"]


def test_tensors_inside_objects_are_found(tmp_path: Path) -> None:
    module = Reduced(Global("m", "Linear"), state={"_parameters": {"weight": np.zeros(2)}})
    found = saved(tmp_path / "module.pt", {"module": module})
    assert list(found.tensors) == ["module._parameters.weight"]
    assert isinstance(found.value["module"], Call)


def test_parameters_and_subclasses_are_their_tensors(tmp_path: Path) -> None:
    rebuild = Global("torch._utils", "_rebuild_parameter")
    parameter = Reduced(rebuild, np.zeros(2), True, OrderedDict())
    found = saved(tmp_path / "module.pt", {"weight": parameter})
    assert isinstance(found.value["weight"], TensorReference)
    function, arguments, state = tensor((4,), (1,)).reduction
    buffer = Global("torch.nn.parameter", "Buffer")
    rebuild = Global("torch._tensor", "_rebuild_from_type_v2")
    found = saved(tmp_path / "x.pt", {"b": Reduced(rebuild, function, buffer, arguments, state)})
    assert list(found.tensors) == ["b"]


def test_a_value_that_contains_itself_is_read(tmp_path: Path) -> None:
    loop: dict[str, Any] = {"a": np.zeros(1)}
    loop["self"] = loop
    assert list(saved(tmp_path / "loop.pt", loop).tensors) == ["a"]


def test_checksums_are_not_looked_at(tmp_path: Path) -> None:
    assert list(saved(tmp_path / "x.pt", {"a": np.zeros(1)}, crc=False).tensors) == ["a"]


@pytest.mark.parametrize(
    ("value", "span"),
    [
        (tensor((4,), (1,)), (0, 16)),
        (tensor((2, 2), (1, 2)), (0, 16)),
        (tensor((2,), (1,), offset=1), (4, 12)),
        (tensor((), (), offset=3), (12, 16)),
        (tensor((0,), (1,), offset=4), (16, 16)),
        (tensor((2,), (2,)), None),
        (tensor((8,), (0,)), None),
        (tensor((3,), (1,), elements=3), (0, 12)),
    ],
)
def test_views_lie_where_their_offset_and_stride_say(
    value: Any, span: tuple[int, int] | None, tmp_path: Path
) -> None:
    path = tmp_path / "view.pt"
    found = saved(path, {"v": value}).tensors["v"].span
    begin = path.read_bytes().index(CONTENT)
    assert (found and (found.begin - begin, found.end - begin)) == span


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (tensor((5,), (1,)), "tensor 'state.0.v' needs 20 bytes of storage '0', which has 16"),
        (tensor((4,), (1,), offset=1), "tensor 'state.0.v' needs 20 bytes"),
        (tensor((2, 2), (3, 1)), "tensor 'state.0.v' needs 20 bytes"),
        (tensor((2**40,) * 3, (1, 1, 1)), "tensor 'state.0.v' needs"),
        (tensor((4,), (1,), elements=5), "storage data/0 of tensor 'state.0.v' has 16 bytes"),
        (tensor((4,), (1,), content=None), "storage data/0 of tensor 'state.0.v' is missing"),
        (tensor((4,), (1, 1)), "no tensor has"),
        (tensor((-4,), (1,)), "no tensor has"),
        (tensor((4,), (-1,)), "no tensor has"),
        (tensor((4,), (1,), offset=-1), "no tensor has"),
        (tensor((4.5,), (1,)), "no tensor has"),
        (tensor((2**63,), (1,)), "no tensor has"),
    ],
)
def test_a_tensor_that_its_storage_does_not_hold_is_named(
    value: Any, words: str, tmp_path: Path
) -> None:
    with pytest.raises(FormatError) as caught:
        saved(tmp_path / "x.pt", {"state": {0: {"v": value}}})
    assert words in caught.value.reason


def test_words_that_no_torch_writes_stay_a_call(tmp_path: Path) -> None:
    found = saved(tmp_path / "x.pt", {"v": tensor([4], (1,))})
    assert isinstance(found.value["v"], Call)
    assert not found.tensors


def test_newer_types_are_counted_in_bytes_and_name_their_type(tmp_path: Path) -> None:
    value = {
        "small": tensor((16,), (1,), elements=16, dtype="float8_e4m3fn"),
        "large": tensor((7,), (1,), elements=16, offset=1, dtype="uint16"),
    }
    found = saved(tmp_path / "x.pt", value)
    spans = [reference.span for reference in found.tensors.values()]
    assert [(span.dtype, span.size) for span in spans if span] == [("F8_E4M3", 16), ("U16", 14)]
    assert [span.shape for span in found.storages] == [(16,), (8,)]


def test_every_element_type_of_torch_has_a_width() -> None:
    assert {*TORCH_DTYPES.values(), *TORCH_STORAGES.values()} <= set(BITS)


@pytest.mark.parametrize(
    ("records", "words"),
    [
        ([("a/other", b"x"), ("a/version", b"3\n")], "holds no data.pkl"),
        ([("a/data.pkl", b"N.")], "no version"),
        ([("a/data.pkl", b"N."), ("a/version", b"3"), ("a/constants.pkl", b"N.")], "TorchScript"),
        ([("a/data.pkl", b"N."), ("a/version", b"3"), ("a/byteorder", b"big")], "big-endian"),
        ([("a/data.pkl", b"]"), ("a/version", b"3")], "cut short"),
    ],
)
def test_an_archive_that_torch_would_not_load_is_refused(
    records: list[tuple[str, bytes]], words: str, tmp_path: Path
) -> None:
    path = tmp_path / "x.pt"
    path.write_bytes(zip_archive(records))
    with pytest.raises(FormatError) as caught:
        read_torch_file(path)
    assert words in caught.value.reason


def test_an_archive_packed_again_with_compression_is_read_without_places(tmp_path: Path) -> None:
    path, packed = tmp_path / "x.pt", tmp_path / "packed.pt"
    write_torch_file(path, {"a": np.zeros(100, np.float32)})
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as to:
        for name in source.namelist():
            to.writestr(name, source.read(name))
    found = read_torch_file(packed)
    assert found.tensors["a"].span is None
    assert scalar_value(packed, found.tensors["a"].span) is None
    assert not found.storages


def test_plain_pickles_are_read(tmp_path: Path) -> None:
    path = tmp_path / "random_states_0.pkl"
    for protocol in range(6):
        path.write_bytes(pickle.dumps({"step": 5}, protocol))
        found = read_torch_file(path)
        assert (found.archive, found.value, found.storages) == (None, {"step": 5}, ())


def test_what_is_neither_archive_nor_pickle_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "optimizer.pt"
    for content, words in [
        (b"", "it is empty"),
        (bytes(9000), "all zero"),
        (b"version https://git-lfs.github.com/spec/v1\n", "neither a torch archive nor a pickle"),
    ]:
        path.write_bytes(content)
        with pytest.raises(FormatError) as caught:
            read_torch_file(path)
        assert words in caught.value.reason


def test_a_flood_of_tensors_and_a_name_without_end_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch_tensors, "MAX_TENSORS", 5)
    shared = np.zeros(1)
    assert len(saved(tmp_path / "x.pt", [shared] * 5).tensors) == 5
    with pytest.raises(FormatError, match="more than 5 tensors"):
        saved(tmp_path / "x.pt", [shared] * 6)
    with pytest.raises(FormatError, match="too long for a name"):
        saved(tmp_path / "x.pt", {"k" * 2000: shared})
