"""Read what the actions judge of one checkpoint, into values."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from blake3 import blake3

from resume_daemon.checks.integrity import SILENT_CHANGE
from resume_daemon.curriculum.snapshot import read_snapshot
from resume_daemon.errors import ResumeDaemonError
from resume_daemon.files import read_bounded
from resume_daemon.formats.content import Format
from resume_daemon.formats.json_document import read_json
from resume_daemon.formats.registry import read
from resume_daemon.formats.torch_file import read_torch_file, scalar_value
from resume_daemon.listing import EntryKind
from resume_daemon.manifest import file_of
from resume_daemon.reading.scan import ReadOptions, scan_file
from resume_daemon.repair.rebuilding import scheduler, trainer_state
from resume_daemon.repair.rebuilding.scheduler import Optimizer
from resume_daemon.repair.rebuilding.shard_index import INDEXES, Shard, shards_of
from resume_daemon.small_files import MOST_OF_A_FILE, SmallFiles

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from resume_daemon.findings import Finding
    from resume_daemon.listing import Listing
    from resume_daemon.manifest import Manifest

_OPTIMIZER: Final = "optimizer.pt"


@dataclass(frozen=True, slots=True)
class Places:
    """Where a content that was recorded may be found again.

    Attributes:
        small_files: The contents that a daemon has kept, or None.
        snapshot: The checkpoint's snapshot, or None.
        others: Other checkpoints of the run.
    """

    small_files: Path | None = None
    snapshot: Path | None = None
    others: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class Before:
    """How a checkpoint differs from what it was when it was sound; as in ``CheckpointFacts``."""

    recorded: Mapping[str, str]
    kept: Mapping[str, bytes]
    strayed: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()


def paths_of(listing: Listing) -> dict[str, Path]:
    """Return every regular file of a checkpoint with its place, links resolved."""
    return {
        name: listing.path(name)
        for name, entry in listing.entries.items()
        if entry.kind is EntryKind.FILE
    }


def digests_of(files: Mapping[str, Path]) -> dict[str, str]:
    """Return the digest of each file that is small enough to be written anew."""
    found: dict[str, str] = {}
    for name, path in files.items():
        with suppress(ResumeDaemonError):
            found[name] = blake3(read_bounded(path, MOST_OF_A_FILE)).hexdigest()
    return found


def documents_of(files: Mapping[str, Path]) -> dict[str, Any]:
    """Return the fields of ``CheckpointFacts`` that come out of files, as far as they are read."""
    return {
        "trainer_state": _json(files, trainer_state.FILE),
        "scheduler": _pickled(files, scheduler.FILE),
        "optimizer": _optimizer(files),
        "indexes": {
            name: index
            for name in INDEXES
            if isinstance(index := _json(files, name), dict) and "weight_map" in index
        },
    }


def shards_in(files: Mapping[str, Path]) -> dict[str, dict[str, Shard]]:
    """Return, by the name of an index, the shards that would be its."""
    return {
        index: {name: _shard(files[name]) for name in names}
        for index in INDEXES
        if (names := shards_of(index, [*files]))
    }


def compare(
    listing: Listing,
    digests: Mapping[str, str],
    sound: Manifest | None,
    findings: tuple[Finding, ...],
    places: Places,
) -> Before:
    """Return how a checkpoint differs from its manifest of when it was sound.

    Large files are read again only where something small is to be put back beside them.

    Args:
        listing: Its files.
        digests: Of the small ones.
        sound: What it was; None where nothing proves that.
        findings: What was found in it now.
        places: Where contents may be found again.
    """
    if sound is None:
        return Before({}, {})
    recorded = {
        resource.name: resource.digest
        for resource in sound.resources
        if file_of(resource.name) == resource.name
    }
    sizes = {file.name: file.size for file in sound.files}
    small = {n: d for n, d in recorded.items() if sizes.get(n, 0) <= MOST_OF_A_FILE}
    changed = {n: d for n, d in small.items() if n not in listing or digests.get(n) != d}
    kept = {d: content for n, d in changed.items() if (content := _find(n, d, places)) is not None}
    lost = tuple(sorted(n for n in sizes if n not in listing and small.get(n) not in kept))
    strayed = {n for n, d in changed.items() if n in listing and d not in kept}
    if kept or strayed or lost:
        silent = {f.file for f in findings if f.code == SILENT_CHANGE.id}
        large = (n for n in sizes if n not in small and n in listing)
        strayed |= {n for n in large if n in silent or _differs(n, listing, sound)}
    return Before(small, kept, tuple(sorted(strayed)), lost)


def _find(name: str, digest: str, places: Places) -> bytes | None:
    for content in _copies(name, digest, places):
        if blake3(content).hexdigest() == digest:
            return content
    return None


def _copies(name: str, digest: str, places: Places) -> Iterator[bytes]:
    """Yield what may be the content that is looked for, the surest place first."""
    if places.small_files is not None:
        with suppress(ResumeDaemonError):
            yield SmallFiles(places.small_files).get(digest)
    if places.snapshot is not None:
        with suppress(ResumeDaemonError):
            yield read_snapshot(places.snapshot).content(name)
    for other in places.others:
        with suppress(ResumeDaemonError):
            yield read_bounded(other / name, MOST_OF_A_FILE)


def _differs(name: str, listing: Listing, sound: Manifest) -> bool:
    """Return whether a large file is not what it was; one that was not touched is not read."""
    entry = listing.entries[name]
    file = next(each for each in sound.files if each.name == name)
    if entry.size != file.size:
        return True
    if (entry.mtime_ns, entry.inode) == (file.mtime_ns, file.inode):
        return False
    try:
        scan = scan_file(listing.path(name), options=ReadOptions(), cancelled=lambda: False)
    except ResumeDaemonError:
        return True
    return [r.digest for r in scan.ranges] != [r.digest for r in sound.digests_of(name)]


def _json(files: Mapping[str, Path], name: str) -> Any:
    with suppress(ResumeDaemonError):
        return read_json(files[name]) if name in files else None
    return None


def _pickled(files: Mapping[str, Path], name: str) -> Any:
    with suppress(ResumeDaemonError):
        return read_torch_file(files[name]).value if name in files else None
    return None


def _optimizer(files: Mapping[str, Path]) -> Optimizer | None:
    if _OPTIMIZER not in files:
        return None
    path = files[_OPTIMIZER]
    try:
        file = read_torch_file(path)
        values = [
            scalar_value(path, tensor.span)
            for name, tensor in file.tensors.items()
            if name.startswith("state.") and name.endswith(".step")
        ]
    except ResumeDaemonError:
        return None
    groups = file.value.get("param_groups") if isinstance(file.value, dict) else None
    if not isinstance(groups, list) or not all(isinstance(group, dict) for group in groups):
        return None
    return Optimizer(groups, [float(value) for value in values if value is not None])


def _shard(path: Path) -> Shard:
    """Return what a shard holds by its own header; its values are not read."""
    encoding = Format.SAFETENSORS if path.suffix == ".safetensors" else Format.TORCH
    try:
        content = read(path, encoding)
    except ResumeDaemonError as error:
        return Shard({}, 0, error.reason)
    sizes = {span.name: span.size for span in content.spans}
    fault = next((problem.message for problem in content.problems), None)
    if fault is None and sizes.keys() != content.shapes.keys():
        fault = "some of its tensors share their values, or lie with gaps"
    elements = 0
    for shape in content.shapes.values():
        count = 1
        for length in shape:
            count *= length
        elements += count
    return Shard(sizes, elements, fault)
