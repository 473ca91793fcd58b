from __future__ import annotations

import json
import re
import struct
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import safetensors
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st

from resume_daemon.errors import BeyondBoundsError, FormatError
from resume_daemon.formats import registry
from resume_daemon.formats import safetensors as reader
from resume_daemon.formats.content import Format
from resume_daemon.formats.dtypes import BITS, FLOATING, SAFETENSORS_BITS
from resume_daemon.formats.safetensors import (
    HeaderProblem,
    HeaderProblemKind,
    problems,
    read_header,
)

if TYPE_CHECKING:
    from pathlib import Path

deserialize: Any = safetensors.deserialize

DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U64": "uint64",
    "U32": "uint32",
    "U16": "uint16",
    "U8": "uint8",
    "BOOL": "bool",
    "C64": "complex64",
}
ENTRY = b'{"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}'
ARRAYS = st.dictionaries(
    st.text(max_size=20).filter(lambda name: name != "__metadata__"),
    st.tuples(st.sampled_from(sorted(DTYPES)), st.lists(st.integers(0, 4), max_size=3)),
    max_size=6,
)


def build(path: Path, header: Any, data: bytes = b"") -> Path:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(raw)) + raw + data)
    return path


def entry(dtype: str, shape: list[int], begin: int, end: int) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def found(path: Path) -> list[HeaderProblem]:
    return list(problems(read_header(path)))


def kinds(path: Path) -> list[tuple[str, str | None]]:
    return [(problem.kind.value, problem.tensor) for problem in found(path)]


def library_reads(path: Path) -> bool:
    try:
        deserialize(path.read_bytes())
    except safetensors.SafetensorError:
        return False
    return True


@given(ARRAYS, st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3))
def test_what_the_library_writes_is_read_with_every_tensor_in_its_place(
    tmp_path_factory: pytest.TempPathFactory,
    arrays: dict[str, tuple[str, list[int]]],
    metadata: dict[str, str],
) -> None:
    path = tmp_path_factory.getbasetemp() / "model.safetensors"
    content = {
        name: np.arange(np.prod(shape), dtype="uint8").astype(DTYPES[dtype]).reshape(shape)
        for name, (dtype, shape) in arrays.items()
    }
    safetensors.numpy.save_file(content, path, metadata or None)
    raw = path.read_bytes()
    header = read_header(path)
    assert not list(problems(header))
    assert header.file_size == len(raw)
    assert header.metadata == metadata
    assert {span.name: (span.dtype, list(span.shape)) for span in header.tensors} == arrays
    assert [span.begin for span in header.tensors] == sorted(s.begin for s in header.tensors)
    for span in header.tensors:
        assert raw[span.begin : span.end] == content[span.name].tobytes()


@given(st.data())
def test_a_damaged_file_raises_nothing_but_a_format_error(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.safetensors"
    arrays = {"a.weight": np.ones((2, 3), np.float32), "b": np.zeros(5, np.int8)}
    raw = bytearray(safetensors.numpy.save(arrays, {"format": "pt"}))
    for _ in range(data.draw(st.integers(0, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(raw)))
    path.write_bytes(raw[:cut])
    sound = False
    with suppress(FormatError):
        sound = not found(path)
    # Stricter than the library is allowed, but nothing that it refuses may pass.
    assert library_reads(path) or not sound


@pytest.mark.parametrize("dtype", sorted(SAFETENSORS_BITS))
def test_every_width_is_the_one_that_the_library_accepts(dtype: str, tmp_path: Path) -> None:
    size = SAFETENSORS_BITS[dtype]
    path = build(tmp_path / "x", {"a": entry(dtype, [8], 0, size)}, bytes(size))
    assert library_reads(path)
    assert not found(path)
    longer = build(tmp_path / "y", {"a": entry(dtype, [8], 0, size + 1)}, bytes(size + 1))
    assert kinds(longer) == [("shape", "a")]


def test_the_library_lists_no_element_type_that_is_missing_here(tmp_path: Path) -> None:
    path = build(tmp_path / "x", {"a": entry("NONE", [1], 0, 1)}, b"x")
    with pytest.raises(safetensors.SafetensorError) as caught:
        deserialize(path.read_bytes())
    assert set(re.findall(r"`(\w+)`", str(caught.value))) - {"NONE"} == set(SAFETENSORS_BITS)


def test_floating_types_are_those_that_can_go_wrong() -> None:
    assert {"F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2", "C64", "C128"} <= FLOATING
    assert not {"I64", "U8", "BOOL", "F8_E8M0"} & FLOATING
    assert set(BITS) >= FLOATING


def test_a_cut_file_says_how_many_bytes_are_missing(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    safetensors.numpy.save_file({"a": np.ones(100, np.float32)}, path)
    raw = path.read_bytes()
    path.write_bytes(raw[:-7])
    (problem,) = found(path)
    assert problem.kind is HeaderProblemKind.SIZE
    assert problem.message.startswith("7 bytes are missing at the end")
    path.write_bytes(raw + b"xyz")
    assert found(path)[0].message.startswith("3 bytes are too many after the end")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "it is empty"),
        (bytes(5000), "first bytes are all zero"),
        (b"\x10\0\0", "it has 3 bytes, and a header begins with 8"),
        (struct.pack("<Q", 100_000_001) + b"{}", "claims a header of 100000001 bytes"),
        (b"<html><body>", "it is no safetensors file, or its first bytes are damaged"),
        (struct.pack("<Q", 90) + b'{"a"', "cut short inside its header: 86 of 98 bytes"),
    ],
)
def test_a_file_without_a_header_says_what_it_is(
    content: bytes, words: str, tmp_path: Path
) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(FormatError, match=words):
        read_header(path)


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ([], "no JSON object"),
        (b'{"a": 1', "cut short"),
        (b"[" * 200_000, "nested too deeply"),
        ({"a": []}, "tensor 'a' is no JSON object"),
        ({"a": {"shape": [], "data_offsets": [0, 1]}}, "has no dtype"),
        ({"a": {"dtype": 8, "shape": [], "data_offsets": [0, 1]}}, "has no dtype"),
        ({"a": {"dtype": "U8", "data_offsets": [0, 1]}}, "has no shape"),
        ({"a": {"dtype": "U8", "shape": [1.0], "data_offsets": [0, 1]}}, "has no shape"),
        ({"a": {"dtype": "U8", "shape": [True], "data_offsets": [0, 1]}}, "has no shape"),
        ({"a": {"dtype": "U8", "shape": [-1], "data_offsets": [0, 1]}}, "has no shape"),
        ({"a": {"dtype": "U8", "shape": [1], "data_offsets": [0]}}, "no data_offsets of two"),
        ({"a": entry("U8", [1], -1, 1)}, "no data_offsets of two"),
        ({"a": entry("U8", [1], 0, 2**63)}, "no data_offsets of two"),
        ({"a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1.5]}}, "no data_offsets of two"),
        ({"a": entry("U8", [1], 3, 1)}, "begins at 3, after its end at 1"),
        ({"__metadata__": {"format": 1}}, "__metadata__ is not a table of texts"),
        ({"__metadata__": []} | {"a": 1}, "tensor 'a' is no JSON object"),
        (
            b'{"a": %s, "a": %s}' % (ENTRY, ENTRY),
            "the key 'a' stands twice",
        ),
    ],
)
def test_a_header_of_the_wrong_shape_is_refused(header: Any, words: str, tmp_path: Path) -> None:
    path = build(tmp_path / "model.safetensors", header, b"x")
    with pytest.raises(FormatError, match=words):
        read_header(path)


def test_a_header_that_claims_more_than_the_file_has_is_refused_before_it_is_read(
    tmp_path: Path,
) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(struct.pack("<Q", 99_999_999) + b"{}")
    with pytest.raises(FormatError, match="99999997 of 100000007 bytes are missing"):
        read_header(path)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ({"a": entry("U8", [1], 0, 1), "b": entry("U8", [2], 3, 5)}, [("gap", "b")]),
        ({"b": entry("U8", [5], 0, 5), "a": entry("U8", [2], 3, 5)}, [("overlap", "a")]),
        ({"a": entry("U8", [3], 2, 5)}, [("gap", "a")]),
        (
            {"a": entry("U8", [5], 0, 5), "b": entry("U8", [1], 1, 2), "c": entry("U8", [1], 3, 4)},
            [("overlap", "b"), ("overlap", "c")],
        ),
        ({"a": entry("I4", [10], 0, 5)}, [("dtype", "a")]),
        ({"a": entry("F32", [2], 0, 5)}, [("shape", "a")]),
        ({"a": entry("F4", [9], 0, 5)}, [("shape", "a")]),
        ({"a": entry("F4", [10], 0, 5)}, []),
        ({"a": entry("F64", [2**62] * 50_000, 0, 5)}, [("shape", "a")]),
        ({"a": entry("F64", [2**62, 2**62, 0], 0, 0), "b": entry("U8", [5], 0, 5)}, []),
        ({}, [("size", None)]),
    ],
)
def test_a_header_that_contradicts_itself_or_the_file_has_a_problem(
    header: Any, expected: list[Any], tmp_path: Path
) -> None:
    path = build(tmp_path / "model.safetensors", header, b"12345")
    assert kinds(path) == expected


def test_messages_give_the_numbers(tmp_path: Path) -> None:
    path = build(
        tmp_path / "model.safetensors",
        {"a": entry("F32", [2, 3], 0, 5), "b": entry("F4", [3], 6, 8), "c": entry("U8", [2], 7, 9)},
        b"123456789",
    )
    assert [problem.message for problem in found(path)] == [
        "shape [2, 3] of F32 takes 24 bytes, and 5 are given",
        "1 bytes before it belong to no tensor",
        "shape [3] of F4 takes no whole number of bytes, and 2 are given",
        "it begins 1 bytes before the end of another tensor",
    ]


def test_tensors_in_the_same_bytes_are_looked_at_once(tmp_path: Path) -> None:
    header = {name: entry("U8", [4], 0, 4) for name in "abcdefghijkl"} | {
        "z": entry("U8", [2], 4, 6)
    }
    content = registry.read(build(tmp_path / "file", header, bytes(6)), Format.SAFETENSORS)
    assert [span.name for span in content.spans] == ["a", "z"]
    assert len(content.shapes) == 13
    assert len(content.problems) == 8


@pytest.mark.parametrize("bound", ["MAX_TENSORS", "_MAX_NAMES", "_HEADER_MEMORY"])
def test_what_is_larger_than_is_looked_at_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bound: str
) -> None:
    path = build(tmp_path / "file", {n: entry("U8", [1], 0, 1) for n in ("aa", "bb")}, b"1")
    assert len(read_header(path).tensors) == 2
    monkeypatch.setattr(reader, bound, 1)
    with pytest.raises(BeyondBoundsError):
        read_header(path)
