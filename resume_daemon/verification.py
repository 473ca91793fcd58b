"""Verify one checkpoint: list it, read it once, judge it. The shell around layouts and checks."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar

from resume_daemon.checks.agreement import step_counters
from resume_daemon.checks.every import CHECKS
from resume_daemon.errors import ChangedError, FormatError, UsageError
from resume_daemon.evidence import Evidence
from resume_daemon.findings import Finding, Verdict, verdict_of
from resume_daemon.formats.array_data import read_array_data
from resume_daemon.formats.content import Content, Format
from resume_daemon.formats.dcp_shard import read_dcp_shard
from resume_daemon.formats.ocdbt import Value
from resume_daemon.formats.registry import read
from resume_daemon.formats.torch_file import scalar_value
from resume_daemon.formats.zarr_arrays import DESCRIPTIONS, Array, Piece
from resume_daemon.layouts.around import around
from resume_daemon.layouts.base import Role
from resume_daemon.layouts.registry import layout_of, list_checkpoint, unknown_reason
from resume_daemon.ledger.record import rfc3339
from resume_daemon.limits import Limits
from resume_daemon.listing import EntryKind
from resume_daemon.manifest import Manifest, ManifestFile, Resource, TensorRecord, resource_name
from resume_daemon.reading.frames import scan_frames
from resume_daemon.reading.results import ScanTask
from resume_daemon.reading.scan import ReadOptions, scan_files

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from resume_daemon.layouts.base import Around, Completeness, Layout, Part
    from resume_daemon.listing import Listing
    from resume_daemon.reading.results import FileScan


_LARGEST_STEP = 2**53
_ALGORITHMS = frozenset({"sha256", "sha384", "sha512", "sha1", "md5"})
"""Of digests that trainers write down; each is in every ``hashlib``."""
_EXPLAINED = frozenset({Format.DCP_SHARD, Format.ARRAY_DATA})
"""Formats of files that another file explains."""


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
        judged_at: When, where the verdict is an earlier one (UTC); None for now.
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
    judged_at: datetime | None = None

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
            "judged_at": None if self.judged_at is None else rfc3339(self.judged_at),
        }


@dataclass(frozen=True, slots=True)
class References:
    """What is already known and compared with.

    Attributes:
        previous: The sound checkpoint before this one.
        earlier: The sound checkpoint before that one.
        older: Some before those, the newest first.
        recorded: This checkpoint, as it was verified before.
    """

    MOST: ClassVar[int] = 8
    """Manifests of earlier checkpoints that are compared with: each may take 10 MB."""

    previous: Manifest | None = None
    earlier: Manifest | None = None
    older: tuple[Manifest, ...] = ()
    recorded: Manifest | None = None

    @classmethod
    def after(cls, before: Sequence[Manifest], recorded: Manifest | None) -> References:
        """Return the references of a checkpoint after those of ``before``, the newest first."""
        previous, earlier = (*before[:2], None, None)[:2]
        return cls(previous, earlier, tuple(before[2 : cls.MOST]), recorded)


@dataclass(frozen=True, slots=True)
class Options:
    """How a checkpoint is verified."""

    depth: Depth = Depth.DEEP
    reading: ReadOptions = field(default_factory=ReadOptions)
    allowed: frozenset[str] = frozenset()
    limits: Limits = field(default_factory=Limits)


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
    listing = list_checkpoint(path, boundary=boundary)
    layout = layout_of(listing)
    surroundings = around(listing, boundary)
    if layout is None:
        raise UsageError(
            "verify",
            path,
            unknown_reason(listing, surroundings),
            hint="Give a checkpoint, or the run directory above it.",
        )
    evidence = _gather(
        listing,
        layout=layout,
        surroundings=surroundings,
        references=references,
        options=options,
    )
    unfinished = _unfinished(evidence.completeness)
    if options.depth is Depth.DEEP and not unfinished:
        evidence = _scan(evidence, options.reading, cancelled, progress)
    if list_checkpoint(path, boundary=boundary).fingerprint() != listing.fingerprint():
        raise ChangedError(
            "verify", path, "it changed while it was read", hint="Verify it again when it is quiet."
        )
    findings = tuple(finding for check in CHECKS for finding in check(evidence))
    scanned = evidence.scans if len(evidence.scans) == len(_regular(listing)) else {}
    return Verification(
        path=path,
        layout=layout.name,
        step=_step(layout, evidence),
        verdict=Verdict.INCOMPLETE if unfinished else verdict_of(findings),
        findings=findings,
        fingerprint=listing.fingerprint(),
        manifest=_manifest(evidence) if scanned else None,
        bytes_read=sum(scan.bytes_read for scan in evidence.scans.values()),
        seconds=time.monotonic() - begin,
    )


def _step(layout: Layout, evidence: Evidence) -> int | None:
    """Return the trainer's step, or else the number, where the name has one."""
    return evidence.step if evidence.step is not None else layout.step_of(evidence.name) or None


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
    layout: Layout,
    surroundings: Around,
    references: References,
    options: Options,
) -> Evidence:
    completeness = layout.completeness(listing, surroundings)
    stable = {layout.stable_name(name): name for name in listing}

    def comparable(manifest: Manifest | None) -> Manifest | None:
        """A run may hold checkpoints of several layouts, which have nothing in common."""
        if manifest is None or manifest.layout != layout.name:
            return None
        names = {file.name: layout.stable_name(file.name) for file in manifest.files}
        changed = {old: stable[new] for old, new in names.items() if stable.get(new, old) != old}
        return manifest.renamed(changed) if changed else manifest

    contents: dict[str, Content] = {}
    unreadable: dict[str, FormatError] = {}
    parts = layout.parts(listing)
    # What shards hold is said by the metadata beside them, so that comes first.
    for name in sorted(_regular(listing), key=lambda n: parts[n].format in _EXPLAINED):
        part = parts[name]
        if part.format is Format.OPAQUE:
            continue
        try:
            if part.format is Format.DCP_SHARD:
                content = _read_shard(name, listing, parts, contents)
            elif part.format is Format.ARRAY_DATA:
                content = _read_array_data(name, listing, parts, contents)
            else:
                content = read(listing.path(name), part.format)
        except FormatError as error:
            unreadable[name] = error
            continue
        if part.format is Format.JSON and part.role in {Role.TOKENIZER, Role.OTHER}:
            # A tokenizer of 10 MB becomes 100 MB of objects, of which only the kind is looked at.
            content = Content(value=type(content.value)())
        contents[name] = content
    recorded = tuple(layout.recorded_steps(contents))
    step = layout.declared_step(listing.name)
    if step is None and layout.number_is_step:
        step = next((each for _, each in recorded), None)

    def not_later(manifest: Manifest | None) -> Manifest | None:
        """Where the step lies inside, a name does not tell which of two comes first."""
        later = manifest is not None and (manifest.step or 0) > (step or 0)
        return None if later and step is not None else manifest

    previous = not_later(comparable(references.previous))
    return Evidence(
        name=listing.name,
        layout=layout.name,
        declared=layout.recorded_number(listing.name),
        step=step,
        listing=listing,
        parts=parts,
        completeness=layout.reconsidered(completeness, contents, surroundings),
        vanished={
            file.name: layout.part_of(file.name)
            for file in (previous.files if previous is not None else ())
            if file.name not in listing
        },
        contents=contents,
        recorded_steps=recorded,
        unreadable=unreadable,
        plain_optimizer=layout.plain_optimizer,
        optimizer_steps=_optimizer_steps(listing, parts, contents),
        stated_digests=layout.stated_digests(contents),
        scans={},
        frames={},
        previous=previous,
        earlier=not_later(comparable(references.earlier)),
        older=tuple(m for each in references.older if (m := not_later(comparable(each)))),
        recorded=references.recorded,
        allowed=options.allowed,
        limits=options.limits,
    )


def _read_shard(
    name: str, listing: Listing, parts: Mapping[str, Part], contents: Mapping[str, Content]
) -> Content:
    """Return what a shard holds by the metadata of its folder; nothing where none names it."""
    folder, _, base = name.rpartition("/")
    chunks = [
        chunk
        for other, content in contents.items()
        if parts[other].format is Format.DCP_METADATA and other.rpartition("/")[0] == folder
        for chunk in content.value.shards.get(base, ())
    ]
    if not chunks:
        return Content()
    return read_dcp_shard(listing.path(name), listing.entries[name].size, chunks)


def _read_array_data(
    name: str, listing: Listing, parts: Mapping[str, Part], contents: Mapping[str, Content]
) -> Content:
    """Return what a data file holds by the stores above it; nothing where none references it."""
    pieces, needed = [], 0
    for other, content in contents.items():
        folder = other.rpartition("/")[0] + "/" if "/" in other else ""
        if parts[other].format is Format.ARRAY_STORE and name.startswith(folder):
            file = name[len(folder) :]
            needed = max(needed, content.value.files.get(file, 0))
            pieces += [piece for piece in content.value.pieces if piece.value.file == file]
    size = listing.entries[name].size
    if (piece := _chunk(name, size, contents)) is not None:
        pieces.append(piece)
    return read_array_data(listing.path(name), size, needed, pieces)


def _chunk(name: str, size: int, contents: Mapping[str, Content]) -> Piece | None:
    """Return the chunk that a file is, by the description of its array in a folder above."""
    folder = name
    while "/" in folder:
        folder = folder.rpartition("/")[0]
        for description in DESCRIPTIONS:
            found = contents.get(f"{folder}/{description}")
            if found is not None and isinstance(found.value, Array):
                index = name[len(folder) + 1 :]
                return Piece(found.value, index, Value(name, file=name, end=size))
    return None


def _optimizer_steps(
    listing: Listing, parts: Mapping[str, Part], contents: Mapping[str, Content]
) -> Mapping[str, tuple[float, ...]]:
    """Return the optimizer's own counter of each parameter, by file, where it keeps one."""
    found: dict[str, tuple[float, ...]] = {}
    for name, content in contents.items():
        steps: list[float] = []
        for at, span in content.scalars.items():
            if at.endswith(".step") and parts[name].role_of(at) is Role.OPTIMIZER:
                value = scalar_value(listing.path(name), span)
                steps += [] if value is None else [float(value)]
        plain = content.value if parts[name].role is Role.OPTIMIZER else None
        state = plain.get("state") if isinstance(plain, dict) else None
        for entry in state.values() if isinstance(state, dict) else ():
            step = entry.get("step") if isinstance(entry, dict) else None
            # A whole number of a pickle may be too long for a float.
            if isinstance(step, float) or (type(step) is int and abs(step) < _LARGEST_STEP):
                steps.append(float(step))
        if steps:
            found[name] = tuple(steps)
    return found


def _scan(
    evidence: Evidence,
    reading: ReadOptions,
    cancelled: Callable[[], bool],
    progress: Callable[[int], None],
) -> Evidence:
    """Read every byte of every file once; digests and statistics go into the evidence."""
    tasks = []
    for name in _regular(evidence.listing):
        content = evidence.contents.get(name, Content())
        path = evidence.listing.path(name)
        stated = evidence.stated_digests.get(name)
        algorithm = stated.algorithm if stated is not None else None
        tasks.append(
            ScanTask(
                path,
                content.spans,
                content.records,
                key=name,
                algorithm=algorithm if algorithm in _ALGORITHMS else None,
            )
        )
    scans: dict[str, FileScan] = {}
    with closing(scan_files(tasks, reading, cancelled, progress)) as results:
        for task, result in results:
            if isinstance(result, Exception):
                raise result
            scans[task.key] = result
    throttle = reading.throttle()
    frames = {
        name: scan_frames(evidence.listing.path(name), content.frames, reading, throttle, cancelled)
        for name, content in evidence.contents.items()
        if content.frames
    }
    return replace(evidence, scans=scans, frames=frames)


def _manifest(evidence: Evidence) -> Manifest:
    entries = evidence.listing.entries
    regular = sorted(_regular(evidence.listing))
    return Manifest(
        checkpoint=evidence.name,
        layout=evidence.layout,
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
            name: tuple(TensorRecord.of(t) for t in evidence.scans[name].tensors)
            for name in regular
            if evidence.scans[name].tensors
        },
        steps=step_counters(evidence),
    )
