"""The manifest of a verified checkpoint: every file with its digest, every tensor with its numbers.

``resources`` has the shape ``{name, algorithm, digest}`` of sigstore's model signing, so a manifest
can be signed later; a file of more than 256 MiB is one resource per range, named
``file:begin:end`` as its shard serialisation does (``model_signing/_serialization``).
"""

from __future__ import annotations

import struct
from base64 import b64decode, b64encode
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from blake3 import blake3

from resume_daemon.errors import FormatError, ResumeDaemonError
from resume_daemon.files import canonical_json, read_bounded, write_atomic
from resume_daemon.formats.json_document import parse_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from resume_daemon.reading.results import TensorStatistics

SCHEMA = 1

_FLOAT: Final = 4
_LARGEST: Final = 3.4028234663852886e38
"""Bytes of a float32, and the largest of them."""


@dataclass(frozen=True, slots=True)
class ManifestFile:
    """One file as it was when it was read; size in bytes, mtime in nanoseconds."""

    name: str
    size: int
    mtime_ns: int
    inode: int


@dataclass(frozen=True, slots=True)
class Resource:
    """A file, or a range of one, and the digest of its bytes."""

    name: str
    algorithm: str
    digest: str


@dataclass(frozen=True, slots=True)
class TensorRecord:
    """What is kept of a tensor, for the checkpoints after it.

    The last three are None in manifests of before they were kept.

    Attributes:
        name: As in its file.
        dtype: The type of its values.
        shape: Values per dimension.
        largest: The largest finite magnitude, or None where the type has no magnitude.
        nonfinite: How many values are NaN or infinite.
        rms: Root of the mean square of a fixed sample of the values.
        checksum: Of all its bytes (``reading.checksum``).
        zero_runs: How many runs of zeros hold a whole page.
        probes: Some of its values as little-endian float32, in base64.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    largest: float | None
    nonfinite: int
    rms: float | None
    checksum: str | None = None
    zero_runs: int | None = None
    probes: str | None = None

    @classmethod
    def of(cls, found: TensorStatistics) -> TensorRecord:
        """Return what is kept of a tensor that was just read."""
        return cls(
            name=found.name,
            dtype=found.dtype,
            shape=found.shape,
            largest=found.largest,
            nonfinite=found.nan + found.infinite,
            rms=found.rms,
            checksum=found.checksum,
            zero_runs=len(found.zero_runs),
            probes=encode_probes(found.probes),
        )

    def values(self) -> tuple[float, ...]:
        """Return the probes as numbers; none where none were kept."""
        content = b64decode(self.probes or "")
        return struct.unpack(f"<{len(content) // _FLOAT}f", content)


def encode_probes(values: Sequence[float]) -> str:
    """Return values as they are kept; what no float32 can hold becomes its largest."""
    kept = [min(max(value, -_LARGEST), _LARGEST) for value in values]
    return b64encode(struct.pack(f"<{len(kept)}f", *kept)).decode("ascii")


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a checkpoint consisted of when it was verified.

    Attributes:
        checkpoint: The directory's name.
        layout: The layout's name.
        step: The step of the directory's name, or None.
        fingerprint: Of names, sizes, mtimes and inodes; equal means that nothing was touched.
        files: Every file.
        resources: Every file's digest, or its ranges' digests.
        tensors: By file, every tensor's record.
        steps: Every step counter found: ``trainer``, ``scheduler``, ``optimizer``.
    """

    checkpoint: str
    layout: str
    step: int | None
    fingerprint: str
    files: tuple[ManifestFile, ...]
    resources: tuple[Resource, ...]
    tensors: Mapping[str, tuple[TensorRecord, ...]]
    steps: Mapping[str, int]

    def encode(self) -> bytes:
        """Return the bytes that are written and whose digest the ledger keeps."""
        return canonical_json({"schema": SCHEMA, **asdict(self)})

    def renamed(self, names: Mapping[str, str]) -> Manifest:
        """Return the manifest with other names for its files; the others keep theirs."""
        return replace(
            self,
            files=tuple(replace(f, name=names.get(f.name, f.name)) for f in self.files),
            resources=tuple(
                replace(r, name=names[file_of(r.name)] + r.name[len(file_of(r.name)) :])
                if file_of(r.name) in names
                else r
                for r in self.resources
            ),
            tensors={names.get(file, file): tensors for file, tensors in self.tensors.items()},
        )

    def digests_of(self, file: str) -> tuple[Resource, ...]:
        """Return the resource of a file, or those of its ranges in order."""
        return tuple(r for r in self.resources if file_of(r.name) == file)


def digest_of(content: bytes) -> str:
    """Return the digest under which the ledger refers to a manifest's bytes."""
    return blake3(content).hexdigest()


def resource_name(file: str, begin: int, end: int, size: int) -> str:
    """Return the name of a range; a range that is the whole file is the file.

    Unless the file's own name ends as that of a range: then its range is always told.
    """
    whole = (begin, end) == (0, size) and file_of(file) == file
    return file if whole else f"{file}:{begin}:{end}"


def file_of(resource: str) -> str:
    """Return the file of a resource; inverse of ``resource_name``."""
    file, _, end = resource.rpartition(":")
    if file and end.isdigit():
        head, _, begin = file.rpartition(":")
        if head and begin.isdigit():
            return head
    return resource


def range_of(resource: str, size: int) -> tuple[int, int]:
    """Return which bytes a resource covers, of a file of ``size`` bytes."""
    if (file := file_of(resource)) == resource:
        return 0, size
    begin, end = resource[len(file) + 1 :].split(":")
    return int(begin), int(end)


def _check_types(manifest: Manifest) -> None:
    """Raise ``TypeError`` where a value that others rely on is not of its type."""
    texts: list[Any] = [manifest.checkpoint, manifest.layout, manifest.fingerprint]
    texts += [each.name for each in manifest.files]
    texts += [each.name for each in manifest.resources]
    records = [record for found in manifest.tensors.values() for record in found]
    texts += [record.name for record in records]
    if not all(isinstance(text, str) for text in texts):
        raise TypeError("a name is no text")
    if manifest.step is not None and type(manifest.step) is not int:
        raise TypeError(f"step is {manifest.step!r}")
    numbers = [number for each in records for number in (each.largest, each.rms, each.zero_runs)]
    if not all(number is None or isinstance(number, int | float) for number in numbers):
        raise TypeError("a statistic is no number")
    for each in records:
        each.values()


def write_manifest(path: Path, manifest: Manifest) -> str:
    """Write a manifest atomically and return its digest."""
    content = manifest.encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, content)
    return digest_of(content)


def keep_sound_manifest(path: Path) -> None:
    """Keep the manifest of a sound checkpoint that is about to get a worse one.

    Raises:
        ResumeDaemonError: It cannot be read.
    """
    write_atomic(_sound(path), read_bounded(path))


def find_manifest(path: Path, digest: str | None) -> Manifest | None:
    """Return the manifest that has a digest: the present one, or the one of when it was sound.

    Args:
        path: Where the present one is.
        digest: As the ledger has it.
    """
    for each in (path, _sound(path)):
        with suppress(ResumeDaemonError):
            manifest, found = read_manifest(each)
            if found == digest:
                return manifest
    return None


def forget_sound_manifest(path: Path) -> None:
    """Remove the manifest of when it was sound: the present one is that of a sound checkpoint."""
    _sound(path).unlink(missing_ok=True)


def recorded_manifest(path: Path) -> Manifest | None:
    """Return what a checkpoint was when it was last sound, or else when it was last judged.

    A file that is put back as it was then is no change, whatever was recorded since.
    """
    for each in (_sound(path), path):
        with suppress(ResumeDaemonError):
            return read_manifest(each)[0]
    return None


def _sound(path: Path) -> Path:
    return path.with_name(f"{path.stem}.sound{path.suffix}")


def read_manifest(path: Path) -> tuple[Manifest, str]:
    """Return a manifest and the digest of its bytes.

    Raises:
        ResumeDaemonError: It is missing, unreadable or not a manifest.
    """
    content = read_bounded(path)
    document = parse_json(content, path)
    try:
        if document["schema"] != SCHEMA:
            raise FormatError("read the manifest", path, f"its schema is {document['schema']!r}")
        manifest = Manifest(
            checkpoint=document["checkpoint"],
            layout=document["layout"],
            step=document["step"],
            fingerprint=document["fingerprint"],
            files=tuple(ManifestFile(**each) for each in document["files"]),
            resources=tuple(Resource(**each) for each in document["resources"]),
            tensors={
                file: tuple(TensorRecord(**{**t, "shape": tuple(t["shape"])}) for t in tensors)
                for file, tensors in document["tensors"].items()
            },
            steps={name: int(step) for name, step in document["steps"].items()},
        )
        _check_types(manifest)
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError, struct.error) as error:
        raise FormatError(
            "read the manifest", path, f"it is damaged ({error!r})", hint="Verify again."
        ) from error
    return manifest, digest_of(content)
