from __future__ import annotations

import base64
import io
import json
import os
import pickle
import struct
import zipfile
import zlib
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resume_daemon.errors import FormatError
from resume_daemon.files import open_regular
from resume_daemon.formats import inflation
from resume_daemon.formats.inert_values import GlobalReference
from resume_daemon.formats.inflation import Inflation
from resume_daemon.formats.torch_zip import read_archive
from resume_daemon.formats.zip_archive import read_zip
from tests.torch_files import torch_file

if TYPE_CHECKING:
    from pathlib import Path

METHODS = st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
WEIGHTS = np.arange(4000, dtype=np.float32)


class Runs:
    """Something whose loading would run a program."""

    def __reduce__(self) -> Any:
        """Name the program."""
        return os.system, ("true",)


def write(
    path: Path, members: dict[str, bytes | str], method: int = zipfile.ZIP_STORED
) -> bytearray:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return bytearray(path.read_bytes())


def reason_of(path: Path) -> str:
    with pytest.raises(FormatError) as caught:
        read_zip(path)
    return caught.value.reason


@given(
    st.dictionaries(st.from_regex(r"[a-z]{1,8}(\.txt)?", fullmatch=True), st.text(), max_size=5),
    METHODS,
)
def test_every_member_is_read(
    tmp_path_factory: pytest.TempPathFactory, members: dict[str, str], method: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "members.zip"
    write(path, {name: f"#{text}" for name, text in members.items()}, method)
    content = read_zip(path)
    assert content.value == {name: f"#{text}" for name, text in members.items()}
    assert len(content.records) == (len(members) if method == zipfile.ZIP_STORED else 0)


@given(st.data(), METHODS)
def test_an_archive_cut_anywhere_is_refused(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, method: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "cut.zip"
    whole = write(path, {"data": '{"a": 1}', "a.txt": "x" * 100}, method)
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    with pytest.raises(FormatError):
        read_zip(path)


@given(st.binary(max_size=200), st.integers(0, 10**6), METHODS)
def test_no_damage_raises_anything_but_a_format_error(
    tmp_path_factory: pytest.TempPathFactory, noise: bytes, place: int, method: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "noise.zip"
    path.write_bytes(noise)
    with suppress(FormatError):
        read_zip(path)
    whole = write(path, {"data": '{"a": 1}', "p.pth": torch_file({"w": WEIGHTS[:9]}, folder="a")})
    place %= len(whole)
    path.write_bytes(whole[:place] + noise + whole[place + len(noise) :])
    with suppress(FormatError):
        read_zip(path)


def test_tensors_of_a_member_lie_in_the_archive(tmp_path: Path) -> None:
    path = tmp_path / "rl_model_100_steps.zip"
    state = torch_file({"net": {"weight": WEIGHTS.reshape(40, 100)}}, folder="archive")
    whole = write(path, {"data": "{}", "policy.pth": state})
    content = read_zip(path)
    (span,) = content.spans
    assert span.name == "policy.pth/net.weight"
    assert whole[span.begin : span.end] == WEIGHTS.tobytes()
    assert content.shapes == {"policy.pth/net.weight": (40, 100)}
    # One checksum for the member, which covers those of its records.
    assert [record.name for record in content.records] == ["data", "policy.pth"]
    assert [zlib.crc32(whole[r.begin : r.end]) for r in content.records] == [
        r.crc for r in content.records
    ]


def test_a_member_that_torch_cannot_have_saved_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rl_model_100_steps.zip"
    write(path, {"policy.pth": b"version https://git-lfs.github.com/spec/v1\n"})
    assert "member 'policy.pth'" in reason_of(path)
    write(path, {"policy.pth": torch_file({"w": WEIGHTS}, folder="a")[:-1]})
    assert "member 'policy.pth': it is cut short" in reason_of(path)
    write(path, {"policy.pth": b""})
    assert "member 'policy.pth': it is empty" in reason_of(path)


def test_a_member_from_before_the_archives_of_torch_is_read(tmp_path: Path) -> None:
    path = tmp_path / "rl_model_100_steps.zip"
    headers = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})
    content = b"".join(pickle.dumps(each, 2) for each in (*headers, {"a": 1}, ["0"])) + bytes(99)
    write(path, {"policy.pth": content})
    assert read_zip(path).value["policy.pth"] == {"a": 1}


def serialized(value: Any) -> dict[str, str]:
    return {":serialized:": base64.b64encode(pickle.dumps(value)).decode()}


def test_pickles_in_json_are_read_and_not_loaded(tmp_path: Path) -> None:
    path = tmp_path / "rl_model_100_steps.zip"
    document = {"num_timesteps": 100, "buffer": serialized([1, 2]), "schedule": serialized(Runs())}
    write(path, {"data": json.dumps(document)})
    content = read_zip(path)
    assert content.value["data"]["num_timesteps"] == 100
    assert content.value["data"]["buffer"] == [1, 2]
    assert content.value["data"]["schedule"].function == GlobalReference("posix", "system")
    assert [(r.module, r.name) for r in content.references] == [("posix", "system")]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ('{"a": ', "member 'data': it is cut short"),
        ('{"a": {":serialized:": "abc"}}', "'a': Incorrect padding"),
        ('{"a": {":serialized:": ""}}', "'a': it is empty"),
        ('{"a": {":serialized:": "gASVCgAAAAAAAABdlChLAUsCZS4"}}', "'a': Incorrect padding"),
    ],
)
def test_data_that_its_loader_raises_on_is_refused(data: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "rl_model_100_steps.zip"
    write(path, {"data": data})
    assert words in reason_of(path)


@pytest.mark.parametrize("name", ["../data", "a/../../b", "/etc/passwd", "a\\b", "a//b"])
def test_a_name_that_leads_elsewhere_is_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / "rl_model_100_steps.zip"
    write(path, {name: "x"})
    assert "has the name" in reason_of(path)


def test_a_member_that_stands_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rl_model_100_steps.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data", "{}")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("data", '{"a": 1}')
    assert "stands twice" in reason_of(path)


def with_sizes(whole: bytearray, crc: int | None, full: int | None) -> bytearray:
    """Return a zip of one member whose checksum or size is said to be another, twice."""
    for mark, offset in ((b"PK\3\4", 14), (b"PK\1\2", 16)):
        place = whole.find(mark) + offset
        if crc is not None:
            whole[place : place + 4] = struct.pack("<L", crc)
        if full is not None:
            whole[place + 8 : place + 12] = struct.pack("<L", full)
    return whole


@pytest.mark.parametrize(
    ("crc", "full", "words"),
    [
        (1, None, "does not match its checksum"),
        (None, 99_999, "inflates to more than its 99999 bytes"),
        (None, 100_001, "inflates to 100000 bytes, and has 100001"),
    ],
)
def test_a_compressed_member_is_held_against_its_checksum_and_size(
    crc: int | None, full: int | None, words: str, tmp_path: Path
) -> None:
    path = tmp_path / "rl_model_100_steps.zip"
    whole = write(path, {"a.bin": b"abcde" * 20_000}, zipfile.ZIP_DEFLATED)
    path.write_bytes(with_sizes(whole, crc, full))
    assert words in reason_of(path)


@given(st.binary(max_size=3000), st.integers(1, 200), st.integers(1, 50))
def test_inflation_in_pieces_gives_the_whole(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, piece: int, repeats: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "pieces.zip"
    whole = content * repeats
    write(path, {"a": whole}, zipfile.ZIP_DEFLATED)
    (record,) = read_archive(path).records
    with pytest.MonkeyPatch.context() as patch, open_regular(path) as fd:
        patch.setattr(inflation, "_PIECE", piece)
        inflated = Inflation(fd, path)
        inflated.check(record)
        assert inflated.beginning(record, len(whole) + 1) == whole
        assert inflated.beginning(record, 7) == whole[:7]


def test_a_bomb_costs_neither_memory_nor_time(tmp_path: Path) -> None:
    path = tmp_path / "rl_model_100_steps.zip"
    bomb = zlib.compressobj(9, zlib.DEFLATED, -15)
    stream = io.BytesIO()
    for _ in range(400):
        stream.write(bomb.compress(bytes(1 << 20)))
    stream.write(bomb.flush())
    whole = write(path, {"a.bin": b"x"}, zipfile.ZIP_DEFLATED)
    assert len(whole) < 200
    (record,) = read_archive(path).records
    # What was one byte is now four hundred million, and still said to be one.
    begin, content = record.begin, stream.getvalue()
    packed = whole[:begin] + content + whole[begin + record.size :]
    for mark, offset in ((b"PK\3\4", 18), (b"PK\1\2", 20)):
        place = packed.rfind(mark) if mark == b"PK\1\2" else 0
        packed[place + offset : place + offset + 4] = struct.pack("<L", len(content))
    end = packed.rfind(b"PK\5\6")
    packed[end + 16 : end + 20] = struct.pack("<L", packed.rfind(b"PK\1\2"))
    path.write_bytes(packed)
    assert "inflates to more than its 1 bytes" in reason_of(path)


def test_all_members_together_have_one_allowance(tmp_path: Path) -> None:
    path = tmp_path / "members.zip"
    write(path, {"a": bytes(1000), "b": bytes(1000)}, zipfile.ZIP_DEFLATED)
    first, second = read_archive(path).records
    with open_regular(path) as fd:
        inflated = Inflation(fd, path, allowance=1500)
        inflated.check(first)
        # Of the second, too little is left: it is neither inflated nor refused.
        inflated.check(second)
        with pytest.raises(FormatError, match="inflate to more than is read"):
            inflated.beginning(second, 1000)
