"""OCDBT, the store of arrays in Orbax checkpoints: a manifest, and a B+tree in data files.

Source: tensorstore ``kvstore/ocdbt/index.rst`` (the format), and stores that Orbax 0.12 made.
Manifest and nodes carry a length and a CRC-32C of all their bytes; values have neither.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from resume_daemon.errors import BeyondBoundsError, FormatError, VanishedError
from resume_daemon.files import is_inside, open_regular, read_bounded
from resume_daemon.formats.byte_ranges import blank_reason, read_range
from resume_daemon.formats.crc32c import crc32c
from resume_daemon.formats.inert_values import BeyondBoundError
from resume_daemon.formats.ocdbt_fields import DataFile, Fields
from resume_daemon.formats.zstd_frames import decompress

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_OPERATION: Final = "read the store of arrays"
MANIFEST_MAGIC: Final = 0x0CDB3A2A
NODE_MAGIC: Final = 0x0CDB20DE

_NOWHERE: Final = 2**64 - 1
"""Place and length of the root of a version that holds nothing; as tensorstore 0.1.86 writes it."""

MAX_MANIFEST: Final = 16 * 1024 * 1024
MAX_NODE: Final = 128 * 1024 * 1024
"""Decoded bytes of one node; Orbax asks for at most 100 MB (``max_decoded_node_bytes``)."""
MAX_TREE: Final = 128 * 1024 * 1024
"""Decoded bytes of all nodes, and so of all values in them."""
MAX_KEYS: Final = 48 * 1024 * 1024
"""Bytes of all keys: their prefixes are shared, so that few bytes may stand for many."""
MAX_KEY: Final = 4096
MAX_NODES: Final = 100_000
MAX_HEIGHT: Final = 32
MAX_ENTRIES: Final = 400_000
"""Of all nodes: each takes a kilobyte in the end, and 8 microseconds."""


@dataclass(frozen=True, slots=True)
class Value:
    """A value in the store: inline, or bytes ``begin`` to ``end`` of a data file.

    ``file`` is relative to the directory of the manifest; empty for an inline one.
    """

    key: str
    inline: bytes | None = None
    file: str = ""
    begin: int = 0
    end: int = 0


@dataclass(frozen=True, slots=True)
class Store:
    """The newest version of a store.

    Attributes:
        values: By key, as the tree orders them.
        files: Every data file that it needs, with the least size that it must have.
    """

    values: Mapping[str, Value]
    files: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class _Place:
    """Where an encoded node lies, and how many levels are below it."""

    file: DataFile
    begin: int
    size: int
    height: int
    prefix: bytes


def read_store(path: Path) -> Store:
    """Return what the newest version of a store holds, given its manifest.

    Raises:
        FormatError: The manifest or a node is damaged, missing, or beyond a bound; names lead out
            of the manifest's directory.
        ChangedError: Something became shorter meanwhile.
        VanishedError: The manifest is not there.
        ResumeDaemonError: It cannot be read.
    """
    return _Reader(path.parent).walk(path)


class _Reader:
    """Walks a tree once; counts what it takes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._bytes = MAX_TREE
        self._nodes = MAX_NODES
        self._entries = MAX_ENTRIES
        self._letters = MAX_KEYS
        self._files: dict[str, int] = {}

    def walk(self, manifest: Path) -> Store:
        content = read_bounded(manifest, MAX_MANIFEST)
        values: dict[str, Value] = {}
        try:
            if reason := blank_reason(content[:4096]):
                raise ValueError(reason)  # noqa: TRY301 - the same as one that cannot be read
            root = _root(self._body(content, MANIFEST_MAGIC))
            pending = [root] if root is not None else []
        except LookupError as error:
            raise BeyondBoundsError(_OPERATION, manifest, str(error)) from None
        except (ValueError, struct.error) as error:
            raise FormatError(_OPERATION, manifest, str(error)) from None
        while pending:
            place = pending.pop()
            try:
                self._need(place.file, place.begin + place.size)
                for child in self._node(place):
                    if isinstance(child, _Place):
                        pending.append(child)
                    else:
                        values[child.key] = child
            except BeyondBoundError as error:
                raise BeyondBoundsError(_OPERATION, manifest, str(error)) from None
            except (ValueError, struct.error, FormatError) as error:
                why = error.reason if isinstance(error, FormatError) else str(error)
                where = f"the node at byte {place.begin} of {place.file.name}"
                raise FormatError(_OPERATION, manifest, f"{where}: {why}") from None
            except VanishedError:
                reason = f"{place.file.name} is not there, and holds a part of its tree"
                raise FormatError(_OPERATION, manifest, reason) from None
        return Store(dict(sorted(values.items())), self._files)

    def _need(self, file: DataFile, size: int) -> None:
        self._files[file.name] = max(self._files.get(file.name, 0), size)

    def _body(self, content: bytes, magic: int) -> Fields:
        """Return the fields behind the header, after every checksum held."""
        header = struct.Struct(">I")
        if len(content) < 18:  # noqa: PLR2004 - of header, version, compression and checksum
            raise ValueError("it is cut short")
        if header.unpack_from(content)[0] != magic:
            raise ValueError("it does not begin as such a part does")
        (length,) = struct.unpack_from("<Q", content, 4)
        if length != len(content):
            raise ValueError(f"it should have {length} bytes, and has {len(content)}")
        (expected,) = struct.unpack_from("<I", content, length - 4)
        if crc32c(memoryview(content)[:-4]) != expected:
            raise ValueError("its bytes do not match their checksum")
        fields = Fields(content[12:-4])
        if fields.varint() != 0:
            raise ValueError("it is of a later version of the format")
        compression = fields.varint()
        if compression == 1:
            fields = Fields(decompress(fields.rest(), min(MAX_NODE, self._bytes)))
        elif compression:
            raise ValueError(f"it is compressed in an unknown way ({compression})")
        self._bytes -= fields.size
        return fields

    def _node(self, place: _Place) -> Iterator[_Place | Value]:
        self._nodes -= 1
        if self._nodes < 0 or place.size > MAX_NODE:
            raise BeyondBoundError("its tree is larger than what is read")
        fields = self._body(self._content(place), NODE_MAGIC)
        if fields.byte() != place.height:
            raise ValueError("it is of another height than its parent says")
        files = fields.data_files(place.file.base)
        count = fields.count(fields.size)
        self._entries -= count
        if self._entries < 0:
            raise BeyondBoundError(f"it has more than {MAX_ENTRIES} entries, which are not read")
        prefixes = [0, *fields.varints(count - 1)] if count else []
        suffixes = fields.varints(count)
        common = fields.varints(count) if place.height else ()
        keys = list(fields.keys(prefixes, suffixes, self._letters, MAX_KEY))
        self._letters -= sum(map(len, keys))
        if place.height:
            ids, begins, sizes = (fields.varints(count) for _ in range(3))
            for which, begin, size, key, shared in zip(
                ids, begins, sizes, keys, common, strict=True
            ):
                yield _Place(
                    _at(files, which),
                    begin,
                    size,
                    place.height - 1,
                    place.prefix + key[:shared],
                )
            return
        lengths, kinds = fields.varints(count), fields.varints(count)
        indirect = [number for number, kind in enumerate(kinds) if kind == 1]
        ids, begins = (fields.varints(len(indirect)) for _ in range(2))
        places = dict(zip(indirect, zip(ids, begins, strict=True), strict=True))
        for number, (key, length) in enumerate(zip(keys, lengths, strict=True)):
            name = (place.prefix + key).decode(errors="backslashreplace")
            if number in places:
                which, begin = places[number]
                file = _at(files, which)
                self._need(file, begin + length)
                yield Value(name, None, file.name, begin, begin + length)
            elif kinds[number]:
                raise ValueError(f"the value of {name[:100]!r} is stored in an unknown way")
            else:
                yield Value(name, fields.take(length))

    def _content(self, place: _Place) -> bytes:
        path = self._folder / place.file.name
        if not is_inside(path, self._folder):
            raise ValueError("it lies outside of the checkpoint")
        with open_regular(Path(os.path.realpath(path))) as fd:
            size = os.fstat(fd).st_size
            if place.begin + place.size > size:
                raise ValueError(f"it ends {place.begin + place.size - size} bytes after the file")
            return read_range(fd, place.begin, place.size, path)


def _at(files: tuple[DataFile, ...], which: int) -> DataFile:
    if which >= len(files):
        raise ValueError("it names a data file that its table does not have")
    if not files[which].name:
        raise ValueError("it names a data file without a name, which lies outside")
    return files[which]


def _root(fields: Fields) -> _Place | None:
    """Return where the root of the newest version lies; None where the store is empty."""
    fields.take(16)
    if fields.byte():
        raise LookupError("its versions are in manifests of their own, which are not read")
    fields.varints(2)  # The limits of inline values and of nodes.
    fields.byte()
    if fields.varint():
        fields.take(4)
    files = fields.data_files("")
    count = fields.count(MAX_ENTRIES)
    if not count:
        raise ValueError("it names no version")
    generations = fields.varints(count)
    heights = fields.take(count)
    ids, begins, sizes = (fields.varints(count) for _ in range(3))
    newest = max(range(count), key=generations.__getitem__)
    if begins[newest] == sizes[newest] == _NOWHERE:
        return None
    if heights[newest] > MAX_HEIGHT:
        raise ValueError("its tree is higher than what is read")
    return _Place(_at(files, ids[newest]), begins[newest], sizes[newest], heights[newest], b"")
