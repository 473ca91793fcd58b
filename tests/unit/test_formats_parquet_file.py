from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resume_daemon.errors import FormatError
from resume_daemon.formats import parquet_file
from resume_daemon.formats.content import ProblemKind
from resume_daemon.formats.parquet_file import read_parquet
from resume_daemon.formats.thrift_compact import read_struct
from tests import parquet_files
from tests.parquet_files import footer, structure

if TYPE_CHECKING:
    from pathlib import Path


def write(path: Path, fields: dict[int, Any]) -> bytes:
    content = parquet_files.parquet_file(fields)
    path.write_bytes(content)
    return content


@given(
    st.recursive(
        st.integers(-(2**63), 2**63 - 1) | st.binary(max_size=20),
        lambda inside: (
            st.dictionaries(st.integers(1, 3000), inside, max_size=5)
            | st.lists(st.integers(-(2**31), 2**31), max_size=20)
        ),
        max_leaves=10,
    )
)
def test_every_structure_is_read(value: Any) -> None:
    fields = {1: value, 2: True, 3: False}
    assert read_struct(structure(fields)) == (fields, len(structure(fields)))


@given(st.binary(max_size=100))
def test_random_bytes_raise_nothing_but_an_error_of_value(noise: bytes) -> None:
    with suppress(ValueError):
        read_struct(noise)


def test_a_footer_is_read(tmp_path: Path) -> None:
    path = tmp_path / "samples.parquet"
    write(path, footer())
    content = read_parquet(path)
    assert content.value == {"rows": 10, "schema": ["schema", "a"], "created_by": "a writer"}
    assert content.problems == ()


@pytest.mark.parametrize(
    ("changes", "kind", "words"),
    [
        ({"size": 101}, ProblemKind.PLACE, "bytes 4 to 105, and the data ends at 104"),
        ({"begin": 3}, ProblemKind.PLACE, "bytes 3 to 103"),
        ({"begin": 2**62, "size": 2**62}, ProblemKind.PLACE, "said to take bytes"),
        ({"begin": 50, "dictionary": 2}, ProblemKind.PLACE, "bytes 2 to 102"),
        ({"rows": 11}, ProblemKind.SIZE, "have 10 rows, and it is said to have 11"),
    ],
)
def test_what_the_file_does_not_hold_is_told(
    changes: dict[str, int], kind: ProblemKind, words: str, tmp_path: Path
) -> None:
    path = tmp_path / "samples.parquet"
    write(path, footer(**changes))
    (problem,) = read_parquet(path).problems
    assert problem.kind is kind
    assert words in problem.message


def test_a_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "samples.parquet"
    whole = write(path, footer())
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(FormatError):
            read_parquet(path)


@given(st.integers(0, 10**6), st.binary(min_size=1, max_size=8))
def test_no_damage_raises_anything_but_a_format_error(
    tmp_path_factory: pytest.TempPathFactory, place: int, noise: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "noise.parquet"
    whole = write(path, footer())
    place %= len(whole)
    path.write_bytes(whole[:place] + noise + whole[place + len(noise) :])
    with suppress(FormatError):
        read_parquet(path)


def test_what_is_wrong_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "samples.parquet"
    whole = write(path, footer())
    for content, words in [
        (b"", "it is empty"),
        (bytes(5000), "all zero"),
        (b"PARE" + whole[4:], "its footer is encrypted"),
        (b"JUNK" + whole[4:], "does not begin as a Parquet file does"),
        (whole[:-8] + b"\xff\xff\xff\x7fPAR1", "claims a footer of 2147483647 bytes"),
        (whole[:-8] + b"\1\0\0\0PAR1", "its footer is damaged: a field is missing"),
    ]:
        path.write_bytes(content)
        with pytest.raises(FormatError) as caught:
            read_parquet(path)
        assert words in caught.value.reason
    path.write_bytes(whole)
    monkeypatch.setattr(parquet_file, "MAX_FOOTER_BYTES", 10)
    with pytest.raises(FormatError, match="is not read"):
        read_parquet(path)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"\x1c" * 40, "nested deeper than 24 levels"),
        (b"\x19\xf9\xff\xff\xff\xff\x0f", "cut short"),
        (b"\x18\xff\xff\xff\xff\x0f", "cut short"),
        (b"\x16" + b"\xff" * 11, "does not end"),
        (b"\x1d\x00", "unknown type 13"),
        (b"\x11\x01\x02\x00", "stands twice"),
    ],
)
def test_no_structure_claims_more_than_it_has(raw: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read_struct(raw)


def test_what_pyarrow_writes_is_read(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is in the environment of trainers")
    parquet = pytest.importorskip("pyarrow.parquet", reason="as above")
    path = tmp_path / "samples.parquet"
    table = pyarrow.table({"a": list(range(5000)), "b": [f"text {n % 7}" for n in range(5000)]})
    for rows, options in [
        (5000, {}),
        (5000, {"row_group_size": 500, "compression": "NONE", "use_dictionary": False}),
        (5000, {"data_page_version": "2.0", "write_page_index": True}),
        (0, {}),
    ]:
        parquet.write_table(table.slice(0, rows), path, **options)
        content = read_parquet(path)
        assert (content.value["rows"], content.problems) == (rows, ())
        whole = path.read_bytes()
        for length in {0, 3, 4, 11, 12, len(whole) // 2, len(whole) - 9, len(whole) - 1}:
            path.write_bytes(whole[:length])
            with pytest.raises(FormatError):
                read_parquet(path)
