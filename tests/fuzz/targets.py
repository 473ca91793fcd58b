"""One target for each format that has a reader: how any bytes become a file, and how it is read.

What guards itself by a checksum is sealed with a right one, so that what lies behind is reached.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Final

from resume_daemon.formats.array_data import read_array_data
from resume_daemon.formats.content import Content, Format
from resume_daemon.formats.crc32c import crc32c
from resume_daemon.formats.dcp_metadata import Chunk
from resume_daemon.formats.dcp_shard import read_dcp_shard
from resume_daemon.formats.ocdbt import MANIFEST_MAGIC, NODE_MAGIC, Value
from resume_daemon.formats.registry import READERS
from resume_daemon.formats.zarr_arrays import DESCRIPTIONS, Array, Piece
from resume_daemon.reading.frames import scan_frames
from resume_daemon.reading.open_file import OpenFile
from resume_daemon.reading.ranges import RangeReader
from resume_daemon.reading.results import ScanTask
from resume_daemon.reading.scan import ReadOptions
from resume_daemon.reading.throttle import Throttle
from tests.ocdbt_files import DATA_FILE, manifest_body, sealed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    Read = Callable[[], Content]
    Prepare = Callable[[Path, bytes], Read]

_OPTIONS: Final = ReadOptions(workers=1, read_bytes=1 << 16, keep_page_cache=False)
_MANIFEST, _LEAF, _COMPRESSED, _RAW = range(4)
"""What the first byte of an input says of the rest of it, for a store of arrays."""


@dataclass(frozen=True, slots=True)
class Target:
    """A format under attack.

    Attributes:
        format: Which.
        prepare: Writes an input into a folder, and returns what reads it from there.
    """

    format: Format
    prepare: Prepare

    def attempt(self, folder: Path, data: bytes) -> Callable[[], None]:
        """Write an input, and return what reads it as verification does, its values included."""
        read = self.prepare(folder, data)
        path = folder / "input"

        def whole() -> None:
            _look_at_values(path, read())

        return whole


def _plain(reader: Callable[[Path], Content], folder: Path, data: bytes) -> Read:
    path = folder / "input"
    path.write_bytes(data)
    return partial(reader, path)


def _description(reader: Callable[[Path], Content], folder: Path, data: bytes) -> Read:
    """Take a description, of the kind that the first byte says, under its own name."""
    path = folder / DESCRIPTIONS[data[0] % len(DESCRIPTIONS) if data else 0]
    path.write_bytes(data[1:])
    return partial(reader, path)


def _store(reader: Callable[[Path], Content], folder: Path, data: bytes) -> Read:
    """Take a body of a manifest or of a leaf and seal it, or take a manifest as it is."""
    kind, body = data[0] % 4 if data else _RAW, data[1:]
    node = sealed(NODE_MAGIC, body if kind in {_LEAF, _COMPRESSED} else b"", compressed=kind == 2)
    manifest = body
    if kind == _MANIFEST:
        manifest = sealed(MANIFEST_MAGIC, body)
    elif kind != _RAW:
        manifest = sealed(MANIFEST_MAGIC, manifest_body(len(node)))
    (folder / "input").write_bytes(manifest)
    (folder / DATA_FILE).parent.mkdir(exist_ok=True)
    (folder / DATA_FILE).write_bytes(node)
    return partial(reader, folder / "input")


def _shard(folder: Path, data: bytes) -> Read:
    """Take a tensor's archive and an object's, cut where the first two bytes say."""
    cut, content = int.from_bytes(data[:2], "little"), data[2:]
    cut = min(cut, len(content))
    path = folder / "input"
    path.write_bytes(content)
    chunks = (
        Chunk("weight", 0, cut, "F32", (0, 0), (2, 3), False),
        Chunk("state", cut, len(content) - cut, None, (), (), False),
    )
    return partial(read_dcp_shard, path, len(content), chunks)


ARRAYS: Final = (
    Array("plain", (2, 3), "F32", (2, 3), 1, 0, False),
    Array("compressed", (2, 3), "F32", (2, 3), 1, 0, True),
    Array("sharded", (4, 3), "F32", (2, 3), 1, 2, True),
)
"""What a data file may hold, by the first byte of an input."""


def _data(folder: Path, data: bytes) -> Read:
    array, content = ARRAYS[data[0] % len(ARRAYS) if data else 0], data[1:]
    if array.inner:
        index = content[-16 * array.inner :]
        content += crc32c(index).to_bytes(4, "little")
    path = folder / "input"
    path.write_bytes(content)
    size = len(content)
    piece = Piece(array, "0", Value("key", None, "input", 0, size))
    return partial(read_array_data, path, size, size, (piece,))


@cache
def _range_reader() -> RangeReader:
    return RangeReader(
        _OPTIONS.read_bytes,
        keep_page_cache=False,
        throttle=Throttle(),
        cancelled=lambda: False,
        progress=lambda _: None,
    )


def _look_at_values(path: Path, content: Content) -> None:
    """Scan what a reader placed, with the parts of the scan that need no threads."""
    if content.frames:
        scan_frames(path, content.frames, _OPTIONS, Throttle(), lambda: False)
    if content.spans or content.records:
        task = ScanTask(path, content.spans, content.records)
        file = OpenFile(task, max(path.stat().st_size, 1), lambda _: None)
        for places in file.shares():
            file.scan(places, _range_reader())


_SPECIAL: Final[Mapping[Format, Prepare]] = {
    Format.ARRAY: partial(_description, READERS[Format.ARRAY]),
    Format.ARRAY_STORE: partial(_store, READERS[Format.ARRAY_STORE]),
    Format.DCP_SHARD: _shard,
    Format.ARRAY_DATA: _data,
}

TARGETS: Final[Mapping[Format, Target]] = {
    **{kind: Target(kind, partial(_plain, reader)) for kind, reader in READERS.items()},
    **{kind: Target(kind, prepare) for kind, prepare in _SPECIAL.items()},
}
