"""Plain zip archives, such as those of stable-baselines3: members, checksums, and what is in them.

A member that is an archive of ``torch.save`` is read where it lies, so that the scan sees its
tensors. The archive's own checksum of it covers all that its records' checksums would.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from resume_daemon.errors import BeyondBoundsError, FormatError
from resume_daemon.files import open_regular
from resume_daemon.formats.byte_ranges import read_range
from resume_daemon.formats.content import Content
from resume_daemon.formats.inert_values import BeyondBoundError, Limits
from resume_daemon.formats.inflation import Inflation
from resume_daemon.formats.json_document import JSON_LIMIT, memory_of, parse_json
from resume_daemon.formats.pickle_budget import Budget
from resume_daemon.formats.pickled_json import unpickled
from resume_daemon.formats.tensors import RecordSpan
from resume_daemon.formats.torch_file import read_torch_archive
from resume_daemon.formats.torch_legacy import read_torch_pickles
from resume_daemon.formats.torch_zip import read_archive

if TYPE_CHECKING:
    from pathlib import Path

    from resume_daemon.formats.inert_values import Reference
    from resume_daemon.formats.tensors import TensorSpan
    from resume_daemon.formats.torch_zip import Record

_OPERATION: Final = "read the zip archive"
_TORCH: Final = (".pth", ".pt")
_TEXT_LIMIT: Final = 64 * 1024
_TEXTS_LIMIT: Final = 1024 * 1024
"""Bytes of all short texts that are kept."""


def read_zip(path: Path) -> Content:
    """Return what an archive holds: its value is that of each member by name.

    Members that torch saved, and JSON, are decoded; short texts are themselves; of all others the
    value is None. Tensors are named ``member/path.in.it``.

    Raises:
        FormatError: It is no archive, a member is not what its name promises, or a compressed one
            is not the one whose checksum it bears.
        ChangedError: It became shorter meanwhile.
        VanishedError: It is not there.
        ResumeDaemonError: It cannot be read.
    """
    archive = read_archive(path)
    reader = _Reader(path)
    with open_regular(path) as fd:
        inflation = Inflation(fd, path)
        for record in archive.records:
            try:
                reader.take(fd, record, inflation)
            except FormatError as error:
                kind = BeyondBoundsError if isinstance(error, BeyondBoundsError) else FormatError
                reason = f"member {record.name!r}: {error.reason}"
                raise kind(_OPERATION, path, reason) from None
    return Content(
        value=reader.values,
        shapes=reader.shapes,
        spans=tuple(reader.spans),
        records=tuple(
            RecordSpan(each.name, each.begin, each.begin + each.size, each.crc)
            for each in archive.records
            if not each.compressed
        ),
        references=tuple(reader.references),
    )


class _Reader:
    """Gathers what the members of one archive hold, all of them within one budget."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._budget = Budget(Limits())
        self._texts = _TEXTS_LIMIT
        self.values: dict[str, Any] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.spans: list[TensorSpan] = []
        self.references: dict[Reference, None] = {}

    def take(self, fd: int, record: Record, inflation: Inflation) -> None:
        self.values[record.name] = None
        if record.compressed:
            inflation.check(record)
        if record.name.endswith(_TORCH):
            self._torch(fd, record)
            return
        head = self._content(fd, record, inflation, 1)
        if record.name.endswith(".json") or (head == b"{" and "." not in record.name):
            document = self._json(self._content(fd, record, inflation, JSON_LIMIT))
            if isinstance(document, dict):
                document, found = unpickled(document, self._path, self._budget)
                self.references |= dict.fromkeys(found)
            self.values[record.name] = document
        elif record.full <= min(_TEXT_LIMIT, self._texts):
            self._texts -= record.full
            content = self._content(fd, record, inflation, _TEXT_LIMIT)
            self.values[record.name] = content.decode(errors="replace")

    def _json(self, content: bytes) -> Any:
        try:
            self._budget.charge(memory_of(content))
        except BeyondBoundError:
            reason = "with the members before it, it would take more memory than is used for one"
            raise BeyondBoundsError(_OPERATION, self._path, reason) from None
        return parse_json(content, self._path)

    def _torch(self, fd: int, record: Record) -> None:
        """Take a member of torch; a compressed one has its checksum and no more."""
        if record.compressed:
            return
        path, begin, end = self._path, record.begin, record.begin + record.size
        if read_range(fd, begin, min(4, record.size), path) == b"PK\x03\x04":
            found = read_torch_archive(path, begin, end, self._budget)
        else:  # As torch saved before 1.6.
            found = read_torch_pickles(path, begin, end, self._budget)
        self.values[record.name] = found.value
        self.references |= dict.fromkeys(found.references)
        self.spans += [replace(s, name=f"{record.name}/{s.name}") for s in found.storages]
        self.shapes |= {f"{record.name}/{name}": t.shape for name, t in found.tensors.items()}

    def _content(self, fd: int, record: Record, inflation: Inflation, limit: int) -> bytes:
        """Return up to ``limit`` bytes of a member.

        Raises:
            FormatError: It has more than a large ``limit``.
        """
        if limit > 1 and record.full > limit:
            raise BeyondBoundsError(_OPERATION, self._path, f"more than {limit} bytes are not read")
        if record.compressed:
            return inflation.beginning(record, limit)
        return read_range(fd, record.begin, min(record.size, limit), self._path)
