from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import numpy as np
import pytest

from resume_daemon.errors import BeyondBoundsError, CancelledError, FormatError
from resume_daemon.formats import array_data, ocdbt
from resume_daemon.formats.array_data import read_array_data, read_arrays
from resume_daemon.formats.crc32c import crc32c
from resume_daemon.formats.ocdbt import MANIFEST_MAGIC, Value
from resume_daemon.formats.tensors import Frame
from resume_daemon.formats.zarr_arrays import Array, Piece
from resume_daemon.formats.zstd_frames import _library
from resume_daemon.reading import frames as reading_frames
from resume_daemon.reading.frames import scan_frames
from resume_daemon.reading.scan import ReadOptions
from resume_daemon.reading.throttle import Throttle
from tests.ocdbt_files import (
    DATA_FILE,
    leaf_body,
    manifest_body,
    sealed,
    shard,
    store_files,
    zarr_2,
    zarr_3,
)

if TYPE_CHECKING:
    from pathlib import Path

WEIGHT = np.arange(6, dtype=np.float32).reshape(2, 3)
FRAME = _library().compress(WEIGHT.tobytes())
PLAIN = Array("plain", (2, 3), "F32", (2, 3), 1, 0, False)


def write(folder: Path, leaf: bytes, data: bytes = b"", *, compressed: bool = False) -> Path:
    for name, content in store_files(leaf, data, compressed=compressed).items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    return folder / "manifest.ocdbt"


def sealed_shard(chunks: list[bytes]) -> bytes:
    content = shard(chunks)
    return content + crc32c(content[-16 * len(chunks) :]).to_bytes(4, "little")


@pytest.mark.parametrize("compressed", [False, True])
def test_a_store_gives_its_arrays_and_their_chunks(tmp_path: Path, *, compressed: bool) -> None:
    inline = {"a/.zarray": zarr_2((2, 3), compressed=True), "a/0.0": FRAME}
    content = read_arrays(write(tmp_path, leaf_body(inline, {}), compressed=compressed))
    assert content.shapes == {"a": (2, 3)}
    assert [(frame.name, frame.inline) for frame in content.frames] == [("a", FRAME)]
    assert content.problems == ()


def test_any_flipped_bit_of_a_manifest_or_a_leaf_is_seen(tmp_path: Path) -> None:
    manifest = write(tmp_path, leaf_body({"a/.zarray": zarr_2((2, 3), compressed=True)}, {}))
    for path in (manifest, tmp_path / DATA_FILE):
        content = path.read_bytes()
        for at in range(0, len(content), 7):
            path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
            with pytest.raises(FormatError):
                read_arrays(manifest)
        path.write_bytes(content)


@pytest.mark.parametrize(
    "document",
    [b"[]", b"1", b'{"shape": 3}', zarr_2((2, 3), compressed=False, compressor=["zstd"])],
)
def test_what_describes_no_array_is_told_and_stops_nothing(tmp_path: Path, document: bytes) -> None:
    inline = {"a/.zarray": zarr_2((2, 3), compressed=True), "b/.zarray": document}
    content = read_arrays(write(tmp_path, leaf_body(inline, {})))
    (problem,) = content.problems
    assert problem.message.startswith("b/.zarray does not describe an array: ")
    assert list(content.shapes) == ["a"]


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "d/../../outside", "a//b"])
def test_a_data_file_that_lies_outside_is_refused(tmp_path: Path, name: str) -> None:
    old = bytes([len(DATA_FILE)]), DATA_FILE.encode()
    body = manifest_body(10).replace(old[1], name.encode()).replace(old[0], bytes([len(name)]), 1)
    (tmp_path / "manifest.ocdbt").write_bytes(sealed(MANIFEST_MAGIC, body))
    with pytest.raises(FormatError, match="lies outside"):
        read_arrays(tmp_path / "manifest.ocdbt")


def test_more_entries_or_longer_keys_than_are_read_are_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = write(tmp_path, leaf_body({"a": b"", "b": b"", "c": b""}, {}))
    assert read_arrays(manifest).shapes == {}
    monkeypatch.setattr(ocdbt, "MAX_ENTRIES", 2)
    with pytest.raises(BeyondBoundsError, match="more than 2 entries"):
        read_arrays(manifest)
    monkeypatch.undo()
    monkeypatch.setattr(ocdbt, "MAX_KEYS", 2)
    with pytest.raises(BeyondBoundsError, match="keys are longer"):
        read_arrays(manifest)


def test_values_in_the_same_bytes_are_looked_at_once(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_bytes(bytes(48))
    places = [(0, 24), (8, 32), (24, 48)]
    pieces = [Piece(PLAIN, str(n), Value("", None, "data", *at)) for n, at in enumerate(places)]
    content = read_array_data(path, 48, 48, pieces)
    assert [(span.begin, span.end) for span in content.spans] == [(0, 24), (24, 48)]


def test_chunks_of_a_shard_in_the_same_bytes_are_looked_at_once(tmp_path: Path) -> None:
    value = sealed_shard([FRAME, FRAME])
    inline = {"a/zarr.json": zarr_3((4, 3), (2, 3)), "a/c/0/0": value}
    content = read_arrays(write(tmp_path, leaf_body(inline, {})))
    assert [frame.name for frame in content.frames] == ["a#0", "a#1"]

    index = 2 * struct.pack("<2Q", 0, len(FRAME))
    inline["a/c/0/0"] = FRAME + index + crc32c(index).to_bytes(4, "little")
    content = read_arrays(write(tmp_path, leaf_body(inline, {})))
    assert [frame.name for frame in content.frames] == ["a#0"]


def test_more_chunks_than_are_looked_at_are_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(array_data, "_MOST_CHUNKS", 1)
    value = sealed_shard([FRAME, FRAME])
    inline = {"a/zarr.json": zarr_3((4, 3), (2, 3)), "a/c/0/0": value}
    with pytest.raises(BeyondBoundsError, match="more than 1 chunks"):
        read_arrays(write(tmp_path, leaf_body(inline, {})))


def frames_of(path: Path, dtype: str, size: int) -> list[Frame]:
    bomb = _library().compress(bytes(64 * 1024 * 1024))
    path.write_bytes(bomb + FRAME)
    shape = (size // 4,)
    return [
        Frame("bomb", dtype, shape, 0, len(bomb), size),
        Frame("weight", "F32", (2, 3), len(bomb), len(bomb) + len(FRAME), 24),
    ]


@pytest.mark.parametrize("dtype", ["F32", ""])
def test_a_chunk_that_decodes_to_more_than_is_decoded_is_neither_judged_nor_accused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str
) -> None:
    frames = frames_of(tmp_path / "data", dtype, 64 * 1024 * 1024 if dtype else 0)
    first, second = scan_frames(tmp_path / "data", frames, ReadOptions(), Throttle(), lambda: False)
    assert (first.statistics is not None, first.reason) == (bool(dtype), "")
    assert second.statistics is not None

    monkeypatch.setattr(reading_frames, "ALLOWANCE", 1024 * 1024)
    first, second = scan_frames(tmp_path / "data", frames, ReadOptions(), Throttle(), lambda: False)
    assert (first.statistics, first.reason) == (None, "")


def test_decoding_a_large_chunk_can_be_called_off_between_its_pieces(tmp_path: Path) -> None:
    frames = frames_of(tmp_path / "data", "F32", 64 * 1024 * 1024)
    asked = 0

    def cancelled() -> bool:
        nonlocal asked
        asked += 1
        return asked > 3

    with pytest.raises(CancelledError):
        scan_frames(tmp_path / "data", frames[:1], ReadOptions(), Throttle(), cancelled)
