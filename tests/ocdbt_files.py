"""Stores of arrays in OCDBT, made without tensorstore: a manifest, and one leaf of its tree."""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING, Any

from resume_daemon.formats.crc32c import crc32c
from resume_daemon.formats.ocdbt import MANIFEST_MAGIC, NODE_MAGIC
from resume_daemon.formats.zstd_frames import _library
from tests.parquet_files import varint

if TYPE_CHECKING:
    from collections.abc import Mapping

DATA_FILE = "d/" + "0" * 32
"""The one data file of a store: its leaf, and behind it the values that are not inline."""


NOWHERE = 2**64 - 1
"""Place and length of the root of a version that holds nothing."""


def sealed(magic: int, body: bytes, *, compressed: bool = False) -> bytes:
    """Return a manifest or a node with a right length and checksum around any body."""
    body = varint(0) + varint(int(compressed)) + (_library().compress(body) if compressed else body)
    head = struct.pack(">I", magic) + struct.pack("<Q", len(body) + 16)
    return head + body + struct.pack("<I", crc32c(head + body))


def manifest_body(size: int | None) -> bytes:
    """Return the body of a manifest whose newest version has a leaf of ``size`` bytes as root.

    None: it holds nothing.
    """
    place = (0, 0, size) if size is not None else (0, NOWHERE, NOWHERE)
    return b"".join(
        (
            bytes(16),  # Of the database.
            varint(0),  # Versions lie in this manifest.
            *map(varint, (1024, 1024 * 1024)),
            varint(4),  # Versions per node, as a power of two.
            varint(0),  # Not compressed.
            _data_files(),
            varint(1),  # One version.
            varint(1),  # Its generation.
            b"\0",  # Its height.
            *map(varint, place),  # File, offset and size of its root.
            *map(varint, (1, 10, 100)),  # What it counts.
            bytes(8),  # When it was made.
        )
    )


def leaf_body(inline: Mapping[str, bytes], outside: Mapping[str, tuple[int, int]]) -> bytes:
    """Return the body of a leaf: values in it, and others by offset and size in the data file."""
    keys = sorted([*inline, *outside])
    return b"".join(
        (
            b"\0",
            _data_files(),
            varint(len(keys)),
            *(varint(0) for _ in keys[1:]),
            *(varint(len(key)) for key in keys),
            *(key.encode() for key in keys),
            *(varint(len(inline[k]) if k in inline else outside[k][1]) for k in keys),
            *(varint(int(key in outside)) for key in keys),
            *(varint(0) for key in keys if key in outside),
            *(varint(outside[key][0]) for key in keys if key in outside),
            *(inline[key] for key in keys if key in inline),
        )
    )


def store_files(leaf: bytes, data: bytes = b"", *, compressed: bool = False) -> dict[str, bytes]:
    """Return the files of a store by name, given the body of its leaf."""
    node = sealed(NODE_MAGIC, leaf, compressed=compressed)
    manifest = sealed(MANIFEST_MAGIC, manifest_body(len(node)), compressed=compressed)
    return {"manifest.ocdbt": manifest, DATA_FILE: node + data}


def zarr_2(shape: tuple[int, ...], *, compressed: bool, **more: Any) -> bytes:
    """Return the description of an array of float32 in one chunk."""
    compressor = {"id": "zstd", "level": 1} if compressed else None
    document = {
        "zarr_format": 2,
        "shape": shape,
        "chunks": shape,
        "dtype": "<f4",
        "order": "C",
        "compressor": compressor,
        "filters": None,
        "fill_value": None,
        **more,
    }
    return json.dumps(document).encode()


def zarr_3(shape: tuple[int, ...], chunk: tuple[int, ...]) -> bytes:
    """Return the description of an array of float32 in one shard of compressed chunks."""
    sharding = {
        "chunk_shape": chunk,
        "codecs": [{"name": "bytes"}, {"name": "zstd"}],
        "index_codecs": [{"name": "bytes"}, {"name": "crc32c"}],
    }
    document = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": shape,
        "data_type": "float32",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": shape}},
        "chunk_key_encoding": {"name": "default"},
        "codecs": [{"name": "sharding_indexed", "configuration": sharding}],
        "fill_value": 0.0,
    }
    return json.dumps(document).encode()


def shard(chunks: list[bytes]) -> bytes:
    """Return a shard of zarr 3: chunks, and their index without its checksum."""
    content, index = b"", b""
    for chunk in chunks:
        index += struct.pack("<2Q", len(content), len(chunk))
        content += chunk
    return content + index


def _data_files() -> bytes:
    return b"".join((varint(1), varint(len(DATA_FILE)), varint(0), DATA_FILE.encode()))
