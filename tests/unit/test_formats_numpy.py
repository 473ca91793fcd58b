from __future__ import annotations

import os
import zipfile
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from resume_daemon.errors import FormatError
from resume_daemon.formats.content import ProblemKind
from resume_daemon.formats.inert_values import How, Reference
from resume_daemon.formats.numpy_file import read_npy, read_npz
from resume_daemon.formats.numpy_header import MAGIC, parse_header

if TYPE_CHECKING:
    from pathlib import Path

TYPES = ["<f2", "<f4", "<f8", "<i1", "<i8", "<u2", "<u8", "|b1", "<c8", "<c16", ">f4", "<U3", "|S2"]
NAMES = {"f2": "F16", "f4": "F32", "f8": "F64", "i1": "I8", "i8": "I64", "u2": "U16", "u8": "U64"}
NAMES |= {"b1": "BOOL", "c8": "C64", "c16": "C128"}
ARRAYS = st.sampled_from(TYPES).flatmap(
    lambda dtype: arrays.arrays(
        np.dtype(dtype), arrays.array_shapes(min_dims=0, max_side=4, min_side=0)
    )
)


class Runs:
    """Something whose loading would run a program."""

    def __reduce__(self) -> Any:
        """Name the program."""
        return os.system, ("true",)


def save(path: Path, array: Any, version: tuple[int, int] | None = None) -> bytes:
    with path.open("wb") as file:
        np.lib.format.write_array(file, np.asanyarray(array), version=version)
    return path.read_bytes()


@given(ARRAYS, st.booleans(), st.sampled_from([None, (1, 0), (2, 0), (3, 0)]))
def test_every_array_is_found_where_it_lies(
    tmp_path_factory: pytest.TempPathFactory,
    array: Any,
    fortran: bool,
    version: tuple[int, int] | None,
) -> None:
    path = tmp_path_factory.getbasetemp() / "array.npy"
    array = np.asfortranarray(array) if fortran else array
    whole = save(path, array, version)
    content = read_npy(path)
    assert content.problems == ()
    assert content.shapes == {"array": array.shape}
    expected = NAMES.get(array.dtype.str[1:]) if array.dtype.str[0] != ">" else None
    assert [span.dtype for span in content.spans] == ([expected] if expected else [])
    for span in content.spans:
        values = np.frombuffer(whole[span.begin : span.end], array.dtype).reshape(span.shape)
        same = array.T if span.shape != array.shape or not array.flags.c_contiguous else array
        assert values.tobytes() == np.ascontiguousarray(same).tobytes()


@given(ARRAYS, st.data())
def test_an_array_cut_anywhere_is_refused_or_told(
    tmp_path_factory: pytest.TempPathFactory, array: Any, data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "cut.npy"
    whole = save(path, array)
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    with suppress(FormatError):
        (problem,) = read_npy(path).problems
        assert problem.kind is ProblemKind.SIZE


@given(
    st.binary(max_size=300), st.sampled_from([b"", MAGIC, MAGIC + b"\1\0", MAGIC + b"\1\0\x40\0"])
)
def test_random_bytes_raise_nothing_but_a_format_error(
    tmp_path_factory: pytest.TempPathFactory, noise: bytes, head: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "noise.npy"
    path.write_bytes(head + noise)
    for reader in (read_npy, read_npz):
        with suppress(FormatError):
            reader(path)


LITERALS = st.text(alphabet="(){}[],:'\"0123456789TrueFalsNon \\<f|OdescrshapeL-", max_size=60)


@given(LITERALS)
def test_no_header_makes_the_parser_fail_in_another_way(text: str) -> None:
    raw = text.encode("latin-1", "replace")
    with suppress(ValueError):
        parse_header(MAGIC + b"\1\0" + len(raw).to_bytes(2, "little") + raw + bytes(12))


def header(text: str, tmp_path: Path, data: bytes = b"") -> Path:
    raw = text.encode()
    path = tmp_path / "array.npy"
    path.write_bytes(MAGIC + b"\2\0" + len(raw).to_bytes(4, "little") + raw + data)
    return path


PLAIN = "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (PLAIN.replace("(2,)", f"({2**62},)"), f"takes {2**64} bytes"),
        (PLAIN.replace("(2,)", "(9223372036854775807,)" * 1), "takes"),
    ],
)
def test_a_header_that_claims_more_than_any_disk_is_told(
    text: str, words: str, tmp_path: Path
) -> None:
    (problem,) = read_npy(header(text, tmp_path, bytes(range(8)))).problems
    assert words in problem.message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (PLAIN.replace("(2,)", "(-2,)"), "its shape is (-2,)"),
        (PLAIN.replace("(2,)", "(True,)"), "its shape is (True,)"),
        (PLAIN.replace("(2,)", "(2)"), "does not give descr, fortran_order and shape"),
        (PLAIN.replace("(2,)", f"({'1,' * 65})"), "its shape is"),
        (PLAIN.replace("(2,)", f"({'9' * 21},)"), "damaged at character"),
        (PLAIN.replace("'<f4'", "'<q4'"), "unknown element type '<q4'"),
        (PLAIN.replace("'<f4'", "__import__('os')"), "damaged at character"),
        (PLAIN.replace("'<f4'", "5"), "an element type that is a int"),
        (PLAIN.replace("'<f4'", "(" * 40 + "1" + ")" * 40), "nested too deeply"),
        (PLAIN.replace("'<f4'", "[('a',)]"), "not described by name and type"),
        (PLAIN.replace("False", "0"), "does not give descr"),
        ("{'descr': '<f4', 'descr': '<f8'}", "a key in its header is no text, or has no value"),
        (PLAIN + " 1", "something follows the dict"),
        (PLAIN[:-4], "cut short"),
        ("", "is no literal"),
    ],
)
def test_what_is_wrong_with_a_header_is_said(text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(FormatError) as caught:
        read_npy(header(text, tmp_path))
    assert words in caught.value.reason


def test_an_unknown_version_and_an_endless_header_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "array.npy"
    for head, words in [(b"\4\0", "version 4"), (b"\2\0\xff\xff\xff\xff", "of 4294967295 bytes")]:
        path.write_bytes(MAGIC + head + bytes(100))
        with pytest.raises(FormatError, match=words):
            read_npy(path)


def test_fields_of_records_are_counted_and_not_scanned(tmp_path: Path) -> None:
    path = tmp_path / "array.npy"
    kind = np.dtype([("a", "<f4"), ("b", "<i8", (2, 2)), ("c", [("d", "|S3")])])
    whole = save(path, np.zeros(3, kind))
    content = read_npy(path)
    assert (content.shapes, content.spans, content.problems) == ({"array": (3,)}, (), ())
    path.write_bytes(whole[:-1])
    assert "takes 117 bytes, and 116 are there" in read_npy(path).problems[0].message


def test_bytes_too_many_are_told(tmp_path: Path) -> None:
    path = tmp_path / "array.npy"
    path.write_bytes(save(path, np.zeros(3)) + b"!")
    assert "takes 24 bytes, and 25 are there" in read_npy(path).problems[0].message


def test_an_array_of_objects_is_a_pickle_that_nobody_loads(tmp_path: Path) -> None:
    path = tmp_path / "array.npy"
    whole = save(path, np.array([{"a": 1}, Runs()], object))
    content = read_npy(path)
    assert any((r.name, r.how) == ("system", How.CALL) for r in content.references)
    assert content.value["array"].state[4][0] == {"a": 1}
    path.write_bytes(whole + b"!")
    assert "1 bytes follow the objects" in read_npy(path).problems[0].message
    path.write_bytes(whole[:-1])
    with pytest.raises(FormatError, match="cut short"):
        read_npy(path)


@pytest.mark.parametrize("compressed", [False, True])
def test_a_zip_of_arrays_gives_each_by_its_name(tmp_path: Path, compressed: bool) -> None:
    path = tmp_path / "buffer.npz"
    content: dict[str, Any] = {"a": np.ones((300, 3)), "b": np.arange(5)}
    content["o"] = np.array([Runs()], object)
    (np.savez_compressed if compressed else np.savez)(path, **content)
    found = read_npz(path)
    assert found.shapes == {"a": (300, 3), "b": (5,), "o": (1,)}
    assert found.value.keys() == {"o"}
    assert Reference("os", "system", How.CALL) in found.references or found.references
    assert [span.name for span in found.spans] == ([] if compressed else ["a", "b"])
    assert [record.name for record in found.records] == (
        [] if compressed else ["a.npy", "b.npy", "o.npy"]
    )


def test_a_compressed_array_that_was_damaged_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "buffer.npz"
    np.savez_compressed(path, a=np.random.default_rng(0).standard_normal(5000))
    whole = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        begin = archive.infolist()[0].header_offset
    whole[begin + 20_000] ^= 1
    path.write_bytes(whole)
    with pytest.raises(FormatError, match=r"a\.npy"):
        read_npz(path)


def test_an_array_in_a_zip_that_is_shorter_than_it_says_is_told(tmp_path: Path) -> None:
    path = tmp_path / "buffer.npz"
    array = save(tmp_path / "array.npy", np.ones(100))
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        with zipfile.ZipFile(path, "w", method) as archive:
            archive.writestr("a.npy", array[:-8])
        assert "takes 800 bytes, and 792 are there" in read_npz(path).problems[0].message
