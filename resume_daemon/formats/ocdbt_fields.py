"""The fields of OCDBT's manifest and nodes, one after another; every count has a bound.

Source: tensorstore ``kvstore/ocdbt/index.rst``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from resume_daemon.formats.inert_values import BeyondBoundError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_MOST_BITS: Final = 64
_MAX_PATH: Final = 1024
_MAX_PATHS: Final = 16 * 1024 * 1024
"""Bytes of all paths in one table of data files."""


@dataclass(frozen=True, slots=True)
class DataFile:
    """A data file: its path from the manifest's directory, and the part that its children share."""

    name: str
    base: str


class Fields:
    """Reads fields; whatever runs over the end raises ``ValueError``."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._place = 0

    @property
    def size(self) -> int:
        """Bytes, of all fields."""
        return len(self._content)

    def take(self, length: int) -> bytes:
        """Return the next bytes."""
        end = self._place + length
        if length < 0 or end > len(self._content):
            raise ValueError("a field ends after the end")
        found = self._content[self._place : end]
        self._place = end
        return found

    def rest(self) -> bytes:
        """Return all bytes that are left."""
        return self.take(len(self._content) - self._place)

    def byte(self) -> int:
        """Return the next byte."""
        return self.take(1)[0]

    def varint(self) -> int:
        """Return a number of seven bits a byte, the lowest first."""
        result = shift = 0
        while True:
            byte = self.byte()
            result |= (byte & 0x7F) << shift
            if byte < 0x80:  # noqa: PLR2004 - the bit that says that more follow
                if result >> _MOST_BITS:
                    raise ValueError("a number is too large")
                return result
            shift += 7
            if shift > _MOST_BITS:
                raise ValueError("a number is too long")

    def count(self, limit: int) -> int:
        """Return how many of something follow: each takes a byte at least."""
        found = self.varint()
        if found > min(limit, len(self._content) - self._place):
            raise ValueError(f"it claims {found} entries, which it cannot hold or are not read")
        return found

    def varints(self, count: int) -> list[int]:
        """Return so many numbers."""
        return [self.varint() for _ in range(count)]

    def keys(
        self, prefixes: Sequence[int], suffixes: Sequence[int], most: int, longest: int
    ) -> Iterator[bytes]:
        """Yield texts that each begin as the one before does, to a given length.

        Raises:
            BeyondBoundError: Together they have more than ``most`` bytes, or one of them has more
                than ``longest``.
        """
        before = b""
        for prefix, suffix in zip(prefixes, suffixes, strict=True):
            if prefix > len(before):
                raise ValueError("a key shares more than the one before has")
            most -= prefix + suffix
            if most < 0 or prefix + suffix > longest:
                raise BeyondBoundError("its keys are longer than what is read")
            before = before[:prefix] + self.take(suffix)
            yield before

    def data_files(self, base: str) -> tuple[DataFile, ...]:
        """Return the table of data files of a node that was itself reached through ``base``."""
        count = self.count(len(self._content))
        prefixes = [0, *self.varints(count - 1)] if count else []
        suffixes, bases = self.varints(count), self.varints(count)
        found = []
        for path, length in zip(
            self.keys(prefixes, suffixes, _MAX_PATHS, _MAX_PATH), bases, strict=True
        ):
            if length > len(path):
                raise ValueError("the base of a path is longer than the path")
            name = base + _text(path)
            # That of an empty tree is in no file; whoever looks for something there is refused.
            if name and (len(name) > _MAX_PATH or not _stays_inside(name)):
                raise ValueError(f"it names the data file {name[:100]!r}, which lies outside")
            found.append(DataFile(name, base + _text(path[:length])))
        return tuple(found)


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise ValueError("the name of a data file is no text") from None


def _stays_inside(name: str) -> bool:
    parts = name.split("/")
    return "\0" not in name and all(part not in {"", ".", ".."} for part in parts)
