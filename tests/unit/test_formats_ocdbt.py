from __future__ import annotations

import shutil
import struct
from typing import TYPE_CHECKING, Any

import pytest
import tensorstore
from hypothesis import given
from hypothesis import strategies as st

from resume_daemon.errors import BeyondBoundsError, FormatError, VanishedError
from resume_daemon.formats.crc32c import crc32c
from resume_daemon.formats.ocdbt import MANIFEST_MAGIC, NODE_MAGIC, read_store
from resume_daemon.formats.ocdbt_fields import Fields

if TYPE_CHECKING:
    from pathlib import Path

    from resume_daemon.formats.ocdbt import Store


def write_store(folder: Path, values: dict[str, bytes], **config: Any) -> Path:
    """Let tensorstore write a store, each value in a version of its own; return its manifest."""
    spec = {"driver": "ocdbt", "base": f"file://{folder}/", "config": config}
    store = tensorstore.KvStore.open(spec).result()
    for key, value in values.items():
        store.write(key, value).result()
    return folder / "manifest.ocdbt"


def sealed(magic: int, body: bytes) -> bytes:
    """Return a manifest or a node with a length and a checksum that hold."""
    content = struct.pack(">IQ", magic, 0)[:4] + struct.pack("<Q", 12 + len(body) + 4) + body
    return content + struct.pack("<I", crc32c(content))


def content_of(store: Store, folder: Path) -> dict[str, bytes]:
    """Return every value, fetched from where the store says that it lies."""
    found = {}
    for key, value in store.values.items():
        if value.inline is not None:
            found[key] = value.inline
        else:
            found[key] = (folder / value.file).read_bytes()[value.begin : value.end]
    return found


VALUES = {f"key/{number:03}": bytes([number % 251]) * (number * 7) for number in range(120)}


@pytest.mark.parametrize("compression", [None, {"id": "zstd", "level": 1}])
@pytest.mark.parametrize("node", [600, 8_000_000])
def test_a_store_is_read_as_its_own_library_reads_it(
    tmp_path: Path, node: int, compression: Any
) -> None:
    """Also one whose tree is of several levels, as small nodes make it."""
    manifest = write_store(
        tmp_path,
        VALUES,
        max_decoded_node_bytes=node,
        max_inline_value_bytes=100,
        compression=compression,
    )
    store = read_store(manifest)

    assert content_of(store, tmp_path) == VALUES
    assert list(store.values) == sorted(VALUES)
    for name, size in store.files.items():
        assert (tmp_path / name).stat().st_size >= size


def test_the_newest_version_counts(tmp_path: Path) -> None:
    write_store(tmp_path, {"a": b"old", "b": b"kept"})
    manifest = write_store(tmp_path, {"a": b"new"})

    assert content_of(read_store(manifest), tmp_path) == {"a": b"new", "b": b"kept"}


def test_an_empty_store_holds_nothing(tmp_path: Path) -> None:
    write_store(tmp_path, {"a": b"x"})
    spec = {"driver": "ocdbt", "base": f"file://{tmp_path}/"}
    store = tensorstore.KvStore.open(spec).result()
    store.delete_range(tensorstore.KvStore.KeyRange()).result()

    assert read_store(tmp_path / "manifest.ocdbt").values == {}


def test_versions_in_manifests_of_their_own_are_told_and_not_read(tmp_path: Path) -> None:
    manifest = write_store(tmp_path, {"a": b"x"}, manifest_kind="numbered")

    with pytest.raises(BeyondBoundsError, match="manifests of their own"):
        read_store(manifest)


def test_a_manifest_that_is_not_there_is_told_as_such(tmp_path: Path) -> None:
    with pytest.raises(VanishedError):
        read_store(tmp_path / "manifest.ocdbt")


@pytest.mark.parametrize("part", ["manifest.ocdbt", "d"])
def test_every_flipped_bit_of_the_tree_is_seen(tmp_path: Path, part: str) -> None:
    manifest = write_store(tmp_path, {"a": b"x" * 20})
    # A tree of one version: all of its data file but older nodes is what the checksums guard.
    file = manifest if part == "manifest.ocdbt" else _node_file(tmp_path)
    content = file.read_bytes()
    for place in range(len(content)):
        file.write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])
        with pytest.raises(FormatError):
            read_store(manifest)


def _node_file(folder: Path) -> Path:
    (name,) = read_store(folder / "manifest.ocdbt").files
    return folder / name


@pytest.mark.parametrize("length", [0, 3, 17, 40, -1])
def test_a_manifest_that_is_cut_is_damaged(tmp_path: Path, length: int) -> None:
    manifest = write_store(tmp_path, {"a": b"x"})
    manifest.write_bytes(manifest.read_bytes()[:length])

    with pytest.raises(FormatError):
        read_store(manifest)


def test_a_data_file_that_holds_a_node_is_missed_by_its_name(tmp_path: Path) -> None:
    manifest = write_store(tmp_path, {"a": b"x"})
    file = _node_file(tmp_path)
    file.unlink()

    with pytest.raises(FormatError, match=file.name):
        read_store(manifest)


def manifest_naming(path: bytes) -> bytes:
    """Return a manifest whose root lies in a data file of that name."""
    config = bytes(16) + bytes([0]) + bytes([0, 0]) + bytes([0]) + bytes([0])
    files = bytes([1, len(path), 0]) + path
    version = bytes([1, 1, 0, 0, 0, 20])
    return sealed(MANIFEST_MAGIC, bytes([0, 0]) + config + files + version)


@pytest.mark.parametrize(
    "path", [b"../secret", b"/etc/passwd", b"d/../../x", b"", b"d//x", b"a\0b"]
)
def test_a_data_file_outside_of_the_store_is_never_opened(tmp_path: Path, path: bytes) -> None:
    folder = tmp_path / "store"
    folder.mkdir()
    (folder / "manifest.ocdbt").write_bytes(manifest_naming(path))

    with pytest.raises(FormatError, match="outside"):
        read_store(folder / "manifest.ocdbt")


def test_a_link_that_leads_out_of_the_store_is_never_followed(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    folder.mkdir()
    (tmp_path / "secret").write_bytes(bytes(100))
    (folder / "link").symlink_to(tmp_path / "secret")
    (folder / "manifest.ocdbt").write_bytes(manifest_naming(b"link"))

    with pytest.raises(FormatError, match="outside"):
        read_store(folder / "manifest.ocdbt")


def reason_of(manifest: Path) -> str:
    """Return why a store is refused; nothing else may be raised."""
    try:
        return f"it has {len(read_store(manifest).values)} values"
    except FormatError as error:
        return error.reason


@given(st.binary(max_size=200))
def test_any_manifest_whose_checksum_holds_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, body: bytes
) -> None:
    folder = tmp_path_factory.getbasetemp() / "any-manifest"
    folder.mkdir(exist_ok=True)
    (folder / "manifest.ocdbt").write_bytes(sealed(MANIFEST_MAGIC, b"\0\0" + body))

    assert reason_of(folder / "manifest.ocdbt")


@given(st.binary(max_size=200))
def test_any_node_whose_checksum_holds_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, body: bytes
) -> None:
    folder = tmp_path_factory.getbasetemp() / "any-node"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    node = sealed(NODE_MAGIC, b"\0\0\0" + body)
    (folder / "node").write_bytes(node)
    manifest = bytearray(manifest_naming(b"node"))
    size = bytes([len(node) & 0x7F | 0x80, len(node) >> 7])
    manifest = bytearray(sealed(MANIFEST_MAGIC, bytes(manifest[12:-5]) + size))
    (folder / "manifest.ocdbt").write_bytes(manifest)

    assert "bytes after the file" not in reason_of(folder / "manifest.ocdbt")


@given(st.lists(st.integers(0, 2**64 - 1), max_size=20))
def test_numbers_are_read_as_they_are_written(numbers: list[int]) -> None:
    content = bytearray()
    for number in numbers:
        left = number
        while left >= 0x80:
            content.append(left & 0x7F | 0x80)
            left >>= 7
        content.append(left)

    assert Fields(bytes(content)).varints(len(numbers)) == numbers


def test_a_number_without_end_and_a_count_beyond_what_follows_are_refused() -> None:
    with pytest.raises(ValueError, match="too long"):
        Fields(b"\xff" * 20).varint()
    with pytest.raises(ValueError, match="claims"):
        Fields(b"\xff\xff\xff\x7f").count(2**40)
