"""Verify one checkpoint: list it, read it once, judge it. The shell around layouts and checks."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from resume_daemon.checks.agreement import step_counters
from resume_daemon.checks.every import CHECKS
from resume_daemon.errors import ChangedError, FormatError, UsageError
from resume_daemon.evidence import Evidence
from resume_daemon.findings import Finding, Verdict, verdict_of
from resume_daemon.formats.json_document import read_json
from resume_daemon.formats.safetensors import read_header
from resume_daemon.formats.torch_file import read_torch_file, scalar_value
from resume_daemon.layouts.base import Completeness, Format, Part, Role
from resume_daemon.layouts.registry import layout_of
from resume_daemon.listing import EntryKind, Listing, list_directory
from resume_daemon.manifest import Manifest, ManifestFile, Resource, TensorRecord, resource_name
from resume_daemon.reading.results import RecordSpan, ScanTask
from resume_daemon.reading.scan import ReadOptions, scan_files

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from resume_daemon.formats.safetensors import SafetensorsHeader
    from resume_daemon.formats.tensors import TensorSpan
    from resume_daemon.formats.torch_file import TorchFile
    from resume_daemon.reading.results import FileScan


_LARGEST_STEP = 2**53


class Depth(StrEnum):
    """How much is read: headers and small files, or every byte."""

    QUICK = "quick"
    DEEP = "deep"


@dataclass(frozen=True, slots=True)
class Verification:
    """What one look at a checkpoint gave.

    Attributes:
        path: The checkpoint's directory.
        layout: The layout's name.
        step: The step of the directory's name, or None.
        verdict: What it is worth.
        findings: Why, gravest part first as the checks are ordered.
        fingerprint: Of the listing that was judged.
        manifest: Every digest and tensor record, where every byte was read.
        bytes_read: Bytes of files that were read whole.
        seconds: Wall-clock time that it took.
    """

    path: Path
    layout: str
    step: int | None
    verdict: Verdict
    findings: tuple[Finding, ...]
    fingerprint: str
    manifest: Manifest | None
    bytes_read: int
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """Return the shape that ``verify --json`` promises."""
        return {
            "path": str(self.path),
            "layout": self.layout,
            "step": self.step,
            "verdict": self.verdict.value,
            "findings": [finding.as_json() for finding in self.findings],
            "bytes_read": self.bytes_read,
            "seconds": round(self.seconds, 3),
        }


@dataclass(frozen=True, slots=True)
class References:
    """What is already known and compared with: the checkpoint before, and this one earlier."""

    previous: Manifest | None = None
    recorded: Manifest | None = None


@dataclass(frozen=True, slots=True)
class Options:
    """How a checkpoint is verified."""

    depth: Depth = Depth.DEEP
    reading: ReadOptions = field(default_factory=ReadOptions)
    allowed: frozenset[str] = frozenset()


def verify(
    path: Path,
    *,
    boundary: Path,
    references: References = References(),
    options: Options = Options(),
    cancelled: Callable[[], bool] = lambda: False,
    progress: Callable[[int], None] = lambda _: None,
) -> Verification:
    """Read a checkpoint once and judge it.

    Args:
        path: The checkpoint's directory.
        boundary: The run directory; links that leave it are not followed.
        references: Manifests to compare with.
        options: How much is read, and how.
        cancelled: Asked often; True ends the work.
        progress: Told the bytes of each read, from the thread that made it.

    Raises:
        UsageError: No layout recognises the directory.
        VanishedError: A file went away while we looked.
        ChangedError: A file changed while we looked.
        CancelledError: ``cancelled`` said so.
        ResumeDaemonError: Something could not be read.
    """
    begin = time.monotonic()
    listing = list_directory(path, boundary=boundary)
    layout = layout_of(listing)
    if layout is None:
        seen = ", ".join(sorted(listing)[:5]) or "nothing"
        raise UsageError(
            "verify",
            path,
            f"it is not a checkpoint of a known layout (it holds {seen})",
            hint="Give a checkpoint directory, or the run directory above it.",
        )
    parts = layout.parts(listing)
    completeness = layout.completeness(listing, lambda name: read_json(listing.path(name)))
    evidence = _gather(
        listing,
        parts=parts,
        completeness=completeness,
        step=layout.step_of(path.name),
        references=references,
        options=options,
    )
    if options.depth is Depth.DEEP and not _unfinished(completeness):
        evidence = _scan(evidence, options.reading, cancelled, progress)
    if list_directory(path, boundary=boundary).fingerprint() != listing.fingerprint():
        raise ChangedError(
            "verify", path, "it changed while it was read", hint="Verify it again when it is quiet."
        )
    findings = tuple(finding for check in CHECKS for finding in check(evidence))
    scanned = evidence.scans if len(evidence.scans) == len(_regular(listing)) else {}
    return Verification(
        path=path,
        layout=layout.name,
        step=evidence.step,
        verdict=Verdict.INCOMPLETE if _unfinished(completeness) else verdict_of(findings),
        findings=findings,
        fingerprint=listing.fingerprint(),
        manifest=_manifest(evidence, layout.name) if scanned else None,
        bytes_read=sum(scan.bytes_read for scan in evidence.scans.values()),
        seconds=time.monotonic() - begin,
    )


def _unfinished(completeness: Completeness) -> bool:
    """Return whether the save never ended, so that what is there says nothing yet.

    Where the trainer's last file is there, what is missing will not come: that is not unfinished,
    it is lost.
    """
    return not completeness.complete and not completeness.saved


def _regular(listing: Listing) -> list[str]:
    return [name for name, entry in listing.entries.items() if entry.kind is EntryKind.FILE]


def _gather(
    listing: Listing,
    *,
    parts: Mapping[str, Part],
    completeness: Completeness,
    step: int | None,
    references: References,
    options: Options,
) -> Evidence:
    documents: dict[str, Any] = {}
    headers: dict[str, SafetensorsHeader] = {}
    torch_files: dict[str, TorchFile] = {}
    unreadable: dict[str, FormatError] = {}
    for name in _regular(listing):
        path, part = listing.path(name), parts[name]
        try:
            if part.format is Format.JSON:
                document = read_json(path)
                # A tokenizer of 10 MB becomes 100 MB of objects that no check looks at.
                if part.role not in {Role.TOKENIZER, Role.OTHER}:
                    documents[name] = document
            elif part.format is Format.SAFETENSORS:
                headers[name] = read_header(path)
            elif part.format is Format.TORCH:
                torch_files[name] = read_torch_file(path)
        except FormatError as error:
            unreadable[name] = error
    return Evidence(
        name=listing.root.name,
        step=step,
        listing=listing,
        parts=parts,
        completeness=completeness,
        documents=documents,
        headers=headers,
        torch_files=torch_files,
        unreadable=unreadable,
        optimizer_steps=_optimizer_steps(listing, parts, torch_files),
        scans={},
        previous=references.previous,
        recorded=references.recorded,
        allowed=options.allowed,
    )


def _optimizer_steps(
    listing: Listing, parts: Mapping[str, Part], torch_files: Mapping[str, TorchFile]
) -> tuple[float, ...]:
    """Read the optimizer's step counters: one-element tensors, or plain numbers in older torch."""
    found: list[float] = []
    for name, torch_file in torch_files.items():
        if parts[name].role is not Role.OPTIMIZER:
            continue
        path = listing.path(name)
        for at, reference in torch_file.tensors.items():
            if at.endswith(".step") and reference.shape in {(), (1,)}:
                value = scalar_value(path, reference)
                found += [] if value is None else [float(value)]
        state = torch_file.value.get("state") if isinstance(torch_file.value, dict) else None
        for entry in state.values() if isinstance(state, dict) else ():
            step = entry.get("step") if isinstance(entry, dict) else None
            # A whole number of a pickle may be too long for a float.
            if isinstance(step, float) or (type(step) is int and abs(step) < _LARGEST_STEP):
                found.append(float(step))
    return tuple(found)


def _scan(
    evidence: Evidence,
    reading: ReadOptions,
    cancelled: Callable[[], bool],
    progress: Callable[[int], None],
) -> Evidence:
    """Read every byte of every file once; digests and statistics go into the evidence."""
    tasks = []
    for name in _regular(evidence.listing):
        spans: tuple[TensorSpan, ...] = ()
        records: tuple[RecordSpan, ...] = ()
        size = evidence.listing.entries[name].size
        if name in evidence.headers:
            # A file cut short keeps the spans that still lie in it.
            spans = tuple(s for s in evidence.headers[name].tensors if s.end <= size)
        elif name in evidence.torch_files:
            torch_file = evidence.torch_files[name]
            spans = torch_file.storages
            if torch_file.archive is not None:
                records = tuple(
                    RecordSpan(r.name, r.begin, r.begin + r.size, r.crc)
                    for r in torch_file.archive.records
                    if not r.compressed
                )
        tasks.append(ScanTask(evidence.listing.path(name), spans, records, key=name))
    scans: dict[str, FileScan] = {}
    with closing(scan_files(tasks, reading, cancelled, progress)) as results:
        for task, result in results:
            if isinstance(result, Exception):
                raise result
            scans[task.key] = result
    return Evidence(
        **{each: getattr(evidence, each) for each in Evidence.__slots__ if each != "scans"},
        scans=scans,
    )


def _manifest(evidence: Evidence, layout: str) -> Manifest:
    entries = evidence.listing.entries
    regular = sorted(_regular(evidence.listing))
    return Manifest(
        checkpoint=evidence.name,
        layout=layout,
        step=evidence.step,
        fingerprint=evidence.listing.fingerprint(),
        files=tuple(
            ManifestFile(name, entries[name].size, entries[name].mtime_ns, entries[name].inode)
            for name in regular
        ),
        resources=tuple(
            Resource(resource_name(name, r.begin, r.end, scan.size), "blake3", r.digest)
            for name in regular
            for scan in (evidence.scans[name],)
            for r in scan.ranges
        ),
        tensors={
            name: tuple(
                TensorRecord(t.name, t.dtype, t.shape, t.largest, t.nan + t.infinite, t.rms)
                for t in evidence.scans[name].tensors
            )
            for name in regular
            if evidence.scans[name].tensors
        },
        steps=step_counters(evidence),
    )
