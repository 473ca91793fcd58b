from __future__ import annotations

import io
import struct
import zipfile
import zlib
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resume_daemon.errors import FormatError
from resume_daemon.formats import torch_zip
from resume_daemon.formats.torch_zip import FileKind, read_archive, read_record, sniff
from tests.torch_files import write_torch_file, zip_archive

if TYPE_CHECKING:
    from pathlib import Path

RECORDS = [("a/data.pkl", b"N."), ("a/data/0", b"0123456789"), ("a/version", b"3\n")]


def write(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "optimizer.pt"
    path.write_bytes(content)
    return path


def reason_of(path: Path) -> str:
    with pytest.raises(FormatError) as caught:
        read_archive(path)
    return caught.value.reason


def changed(old: bytes, new: bytes, *, count: int = 1) -> bytes:
    content = zip_archive(RECORDS)
    assert content.count(old) == count
    return content.replace(old, new)


@given(
    st.dictionaries(
        st.from_regex(r"[a-z0-9._]{1,8}(/[a-z]{1,5}){0,2}", fullmatch=True).filter(
            lambda name: ".." not in name
        ),
        st.binary(max_size=300),
        max_size=6,
    ),
    st.sampled_from(["torch", "stored", "deflated", "streamed"]),
)
def test_every_record_is_found_where_it_lies(
    tmp_path_factory: pytest.TempPathFactory, content: dict[str, bytes], kind: str
) -> None:
    stream = io.BytesIO()
    if kind == "torch":
        stream.write(zip_archive(list(content.items())))
    else:
        method = zipfile.ZIP_DEFLATED if kind == "deflated" else zipfile.ZIP_STORED
        with zipfile.ZipFile(stream, "w", method) as archive:
            for name, data in content.items():
                with archive.open(name, "w", force_zip64=kind == "streamed") as file:
                    file.write(data)
    path = write(tmp_path_factory.getbasetemp(), stream.getvalue())
    found = read_archive(path)
    assert found.end == path.stat().st_size
    assert [record.name for record in found.records] == list(content)
    for record in found.records:
        assert read_record(path, record, 300) == content[record.name]
        assert record.crc == zlib.crc32(content[record.name])
        assert record.compressed is (kind == "deflated")


@given(st.data())
def test_a_damaged_archive_raises_nothing_but_a_format_error(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    raw = bytearray(zip_archive(RECORDS))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    path = write(tmp_path_factory.getbasetemp(), bytes(raw))
    with suppress(FormatError):
        for record in read_archive(path).records:
            read_record(path, record, 100)


@given(st.data())
def test_an_archive_cut_anywhere_is_refused(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    raw = zip_archive(RECORDS)
    cut = data.draw(st.integers(0, len(raw) - 1))
    path = write(tmp_path_factory.getbasetemp(), raw[:cut])
    expected = "it is cut short: the zip's directory at its end is missing" if cut else "empty"
    assert expected in reason_of(path)


def test_an_empty_file_and_one_of_zeros_are_named(tmp_path: Path) -> None:
    assert reason_of(write(tmp_path, b"")) == "it is empty"
    assert "all zero" in reason_of(write(tmp_path, bytes(10_000)))


@pytest.mark.parametrize(
    "name",
    ["../a", "a/../b", "/etc/passwd", "a//b", "a/", "", "a\\b", "a\nb", "a\0b", "é" * 600],
)
def test_a_name_that_leaves_the_archive_or_hides_is_refused(name: str, tmp_path: Path) -> None:
    assert "name" in reason_of(write(tmp_path, zip_archive([*RECORDS, (name, b"x")])))


def test_a_name_that_is_no_text_is_refused(tmp_path: Path) -> None:
    assert "not UTF-8" in reason_of(write(tmp_path, changed(b"a/data/0", b"a/data/\xff", count=2)))


def test_the_same_name_twice_is_refused(tmp_path: Path) -> None:
    content = zip_archive([*RECORDS, ("a/data/0", b"other")])
    assert "'a/data/0' stands twice" in reason_of(write(tmp_path, content))


def test_a_header_that_names_something_else_is_refused(tmp_path: Path) -> None:
    content = zip_archive(RECORDS)
    other = content.replace(b"a/data/0", b"a/data/1", 1)
    assert "header of record 'a/data/0' contradicts" in reason_of(write(tmp_path, other))


def test_a_header_with_another_size_or_checksum_is_refused(tmp_path: Path) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("a/data.pkl", b"N.")
    content = stream.getvalue()
    assert len(read_archive(write(tmp_path, content)).records) == 1
    for place in (14, 18):
        damaged = bytearray(content)
        damaged[place] ^= 1
        assert "contradicts the directory" in reason_of(write(tmp_path, bytes(damaged)))


def directory_entry(content: bytes, name: bytes) -> int:
    return content.rindex(b"PK\1\2", 0, content.rindex(name))


def test_records_may_neither_overlap_nor_leave_the_archive(tmp_path: Path) -> None:
    content = bytearray(zip_archive(RECORDS))
    entry = directory_entry(bytes(content), b"a/data/0")
    struct.pack_into("<2L", content, entry + 20, 50, 50)
    assert "'a/version' overlaps" in reason_of(write(tmp_path, bytes(content)))
    struct.pack_into("<2L", content, entry + 20, 5000, 5000)
    assert "'a/data/0' reaches beyond" in reason_of(write(tmp_path, bytes(content)))
    struct.pack_into("<L", content, entry + 42, 100_000)
    assert "'a/data/0' lies outside" in reason_of(write(tmp_path, bytes(content)))


def test_two_records_on_the_same_bytes_are_refused(tmp_path: Path) -> None:
    content = bytearray(zip_archive([("a/0", b"x"), ("a/1", b"y")]))
    struct.pack_into("<L", content, directory_entry(bytes(content), b"a/1") + 42, 0)
    assert "overlaps the one before" in reason_of(write(tmp_path, bytes(content)))


def test_encryption_and_unknown_compression_are_refused(tmp_path: Path) -> None:
    for place, value in ((8, 1), (10, 14)):
        content = bytearray(zip_archive(RECORDS))
        content[directory_entry(bytes(content), b"a/data/0") + place] = value
        assert "'a/data/0' is encrypted or compressed" in reason_of(write(tmp_path, bytes(content)))


def test_an_archive_after_other_bytes_or_before_some_is_refused(tmp_path: Path) -> None:
    content = zip_archive(RECORDS)
    assert "directory" in reason_of(write(tmp_path, b"PK\3\4" + content))
    assert "something follows" in reason_of(write(tmp_path, content + b"x"))


def test_a_directory_that_does_not_add_up_is_refused(tmp_path: Path) -> None:
    content = bytearray(zip_archive(RECORDS))
    struct.pack_into("<L", content, directory_entry(bytes(content), b"a/data/0") + 24, 5)
    assert "'a/data/0' has two sizes" in reason_of(write(tmp_path, bytes(content)))
    for count in (2, 4):
        content = bytearray(zip_archive(RECORDS))
        struct.pack_into("<2Q", content, content.rindex(b"PK\6\6") + 24, count, count)
        assert "its directory is damaged" in reason_of(write(tmp_path, bytes(content)))


def test_a_record_that_ends_inside_its_compression_is_refused(tmp_path: Path) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", bytes(range(256)))
    damaged = bytearray(stream.getvalue())
    entry = directory_entry(bytes(damaged), b"a/data.pkl")
    (size,) = struct.unpack_from("<L", damaged, entry + 20)
    for place in (18, entry + 20):
        struct.pack_into("<L", damaged, place, size - 5)
    path = write(tmp_path, bytes(damaged))
    (record,) = read_archive(path).records
    with pytest.raises(FormatError, match="ends inside its compression"):
        read_record(path, record, 10_000)


def test_more_records_than_the_bound_are_refused_before_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, zip_archive(RECORDS))
    monkeypatch.setattr(torch_zip, "MAX_RECORDS", 2)
    assert "claims 3 records" in reason_of(path)


def test_offsets_beyond_32_bits_are_read(tmp_path: Path) -> None:
    # A record behind a hole of five gigabytes, as a sparse file.
    begin = 5 * 2**30
    path = tmp_path / "large.pt"
    name = b"a/data/0"
    extra = struct.pack("<2HQ", 1, 8, begin)
    with path.open("wb") as file:
        file.seek(begin)
        file.write(struct.pack("<4s5H3L2H", b"PK\3\4", 0, 8, 0, 0, 0, 0, 0, 0, len(name), 0))
        file.write(name + b"xyz")
        directory = file.tell()
        file.write(struct.pack("<4s6H3L", b"PK\1\2", 0, 0, 8, 0, 0, 0, 7, 3, 3))
        file.write(struct.pack("<5H2L", len(name), len(extra), 0, 0, 0, 0, 2**32 - 1))
        file.write(name + extra)
        end = file.tell()
        file.write(
            struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, 1, 1, end - directory, directory)
        )
        file.write(struct.pack("<4sLQL", b"PK\6\7", 0, end, 1))
        file.write(struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, 2**32 - 1, 2**32 - 1, 0))
        file.seek(0)
        file.write(b"PK")
    (record,) = read_archive(path).records
    assert (record.begin, record.size, record.crc) == (begin + 38, 3, 7)


def test_a_record_that_inflates_beyond_the_limit_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", bytes(5_000_000))
    (record,) = read_archive(path).records
    assert record.size < 10_000
    with pytest.raises(FormatError, match="more than 100000 bytes"):
        read_record(path, record, 100_000)
    assert len(read_record(path, record, 5_000_000)) == 5_000_000


def test_a_damaged_compression_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "damaged.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", bytes(range(256)) * 20)
    (record,) = read_archive(path).records
    raw = bytearray(path.read_bytes())
    raw[record.begin] = 0xFF
    path.write_bytes(raw)
    with pytest.raises(FormatError, match=r"a/data\.pkl"):
        read_record(path, record, 10_000)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", FileKind.EMPTY),
        (bytes(5000), FileKind.ZEROS),
        (b"PK\3\4rest", FileKind.ZIP),
        (b"\x80\x02}q\0.", FileKind.PICKLE),
        (b"\x80\x05\x95", FileKind.PICKLE),
        (b"(dp0\n.", FileKind.PICKLE),
        (b"(lp0\n.", FileKind.PICKLE),
        (b"}q\0.", FileKind.PICKLE),
        (b"ccollections\nOrderedDict\np0\n.", FileKind.PICKLE),
        (b'{"a": 1}', FileKind.UNKNOWN),
        (b"version https://git-lfs.github.com/spec/v1\n", FileKind.UNKNOWN),
        (b"\x80\x09N.", FileKind.UNKNOWN),
    ],
)
def test_a_file_is_told_by_its_first_bytes(content: bytes, kind: str, tmp_path: Path) -> None:
    assert sniff(write(tmp_path, content)) is kind


def test_a_file_of_torch_is_an_archive(tmp_path: Path) -> None:
    path = tmp_path / "scheduler.pt"
    write_torch_file(path, {"last_epoch": 3})
    assert sniff(path) == "zip"
    assert read_archive(path).records[0].name == "scheduler/data.pkl"
