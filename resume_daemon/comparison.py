"""What changed between two checkpoints, tensor by tensor: every value of both is read once."""

from __future__ import annotations

import math
import os
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np

from resume_daemon.errors import CancelledError, ChangedError, FormatError, UsageError
from resume_daemon.files import open_regular, read_error
from resume_daemon.formats.content import Format
from resume_daemon.formats.registry import read
from resume_daemon.layouts.around import around
from resume_daemon.layouts.base import Role
from resume_daemon.layouts.registry import layout_of, list_checkpoint, unknown_reason
from resume_daemon.listing import EntryKind
from resume_daemon.reading.float_layouts import FLOATS, sum_of_squares, values_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from resume_daemon.formats.tensors import TensorSpan

_READ_BYTES = 1 << 20
"""Bytes of either file that are held at a time; as float64 they take up to eight times as much."""


class Status(StrEnum):
    """What became of one tensor."""

    IDENTICAL = "identical"
    MOVED = "moved"
    SHAPE = "other shape"
    TYPE = "other type"
    HERE = "only here"
    THERE = "only there"


@dataclass(frozen=True, slots=True)
class TensorChange:
    """How one tensor differs from the other checkpoint's.

    Attributes:
        file: The file that holds it, of the other checkpoint where it is only there.
        name: Its name.
        role: The part of the checkpoint that it belongs to, as its layout says: ``weights``, ...
        status: What became of it.
        largest: The largest finite magnitude here.
        largest_there: The same in the other checkpoint.
        largest_step: The largest difference of two values.
        rms_step: Root of the mean square of the differences.
        change: ``rms_step`` as a part of the root mean square of the larger of both: 0 where no
            value differs, 1.4 where both have nothing in common, never above 2.

    The numbers are None where the values are not compared: whole numbers, other shapes, and types
    whose values are not known here.
    """

    file: str
    name: str
    role: Role
    status: Status
    largest: float | None = None
    largest_there: float | None = None
    largest_step: float | None = None
    rms_step: float | None = None
    change: float | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the shape that ``verify --against --json`` promises."""
        return {
            "file": self.file,
            "name": self.name,
            "role": self.role.value,
            "status": self.status.value,
            "largest": self.largest,
            "largest_there": self.largest_there,
            "largest_step": self.largest_step,
            "rms_step": self.rms_step,
            "change": self.change,
        }


@dataclass(frozen=True, slots=True)
class Place:
    """Where one tensor lies; its shape where the span has that of the storage behind it."""

    file: str
    path: Path
    role: Role
    shape: tuple[int, ...]
    span: TensorSpan

    def became(self, status: Status, **numbers: float) -> TensorChange:
        """Return what became of it."""
        return TensorChange(self.file, self.span.name, self.role, status, **numbers)


def compare(
    checkpoint: Path,
    other: Path,
    *,
    cancelled: Callable[[], bool] = lambda: False,
    progress: Callable[[int], None] = lambda _: None,
) -> tuple[TensorChange, ...]:
    """Return how every tensor differs from the other checkpoint's.

    Those that differ come first, weights before all others, and the largest change before smaller
    ones.

    Only tensors whose values lie in the file as they are can be compared: those of safetensors, of
    torch archives and of distributed checkpoints.

    Raises:
        UsageError: One of both is no checkpoint.
        ChangedError: A file changed while it was read.
        CancelledError: ``cancelled`` said so.
        ResumeDaemonError: Something could not be read.
    """
    here, there = (places_in(path) for path in (checkpoint, other))
    found = []
    for key in sorted(here.keys() | there.keys()):
        if key not in there:
            found.append(here[key].became(Status.HERE))
        elif key not in here:
            found.append(there[key].became(Status.THERE))
        else:
            found.append(_compare_places(here[key], there[key], cancelled, progress))
    return tuple(sorted(found, key=_order))


def places_in(checkpoint: Path) -> dict[str, Place]:
    """Return every stretch of values of a checkpoint.

    The key is the tensor's name: weights may be sharded in another way. Names that several files
    use, as those of ranks do, have the file before them.

    Raises:
        UsageError: It is no checkpoint.
        ResumeDaemonError: It cannot be read; a file that is damaged is left out.
    """
    listing = list_checkpoint(checkpoint, boundary=checkpoint.parent)
    layout = layout_of(listing)
    if layout is None:
        reason = unknown_reason(listing, around(listing, checkpoint.parent))
        raise UsageError("compare", checkpoint, reason, hint="Give two checkpoints.")
    found: list[Place] = []
    for name, part in sorted(layout.parts(listing).items()):
        entry = listing.entries.get(name)
        if (
            entry is None
            or entry.kind is not EntryKind.FILE
            or part.format in {Format.OPAQUE, Format.JSON}
        ):
            continue
        try:
            content = read(listing.path(name), part.format)
        except FormatError:
            continue  # Its own finding says so.
        found += [
            Place(
                name,
                listing.path(name),
                part.role_of(span.name),
                content.shapes.get(span.name, span.shape),
                span,
            )
            for span in content.spans
        ]
    count = Counter(place.span.name for place in found)
    return {_key(place, count): place for place in found}


def _key(place: Place, count: Mapping[str, int]) -> str:
    name = place.span.name
    return name if count[name] == 1 else f"{place.file}:{name}"


def _order(change: TensorChange) -> tuple[bool, bool, float, str, str]:
    """Put what cannot be compared before the largest change, and what is identical last."""
    same, other = change.status is Status.IDENTICAL, change.role is not Role.WEIGHTS
    size = math.inf if change.change is None else change.change
    return same, other, -size, change.file, change.name


def _compare_places(
    here: Place,
    there: Place,
    cancelled: Callable[[], bool],
    progress: Callable[[int], None],
) -> TensorChange:
    if here.shape != there.shape:
        return here.became(Status.SHAPE)
    if (here.span.dtype, here.span.size) != (there.span.dtype, there.span.size):
        return here.became(Status.TYPE)
    sums = _Sums(here.span.dtype)
    for ours, theirs in _chunks(here, there, cancelled):
        progress(len(ours))
        sums.feed(ours, theirs)
    return sums.change(here)


def _chunks(
    here: Place, there: Place, cancelled: Callable[[], bool]
) -> Iterator[tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]:
    with ExitStack() as closing:
        ours, theirs = (closing.enter_context(open_regular(p.path)) for p in (here, there))
        for at in range(0, here.span.size, _READ_BYTES):
            if cancelled():
                raise CancelledError("compare", here.path, "the work was stopped")
            length = min(_READ_BYTES, here.span.size - at)
            yield (
                _read(ours, here.path, here.span.begin + at, length),
                _read(theirs, there.path, there.span.begin + at, length),
            )


def _read(fd: int, path: Path, offset: int, length: int) -> np.ndarray[Any, Any]:
    try:
        content = os.pread(fd, length, offset)
    except OSError as error:
        raise read_error(error, path) from error
    if len(content) < length:
        raise ChangedError("compare", path, "it was cut short while it was read")
    return np.frombuffer(content, np.uint8)


class _Sums:
    """What is known of a tensor's values so far, in pieces of whole elements."""

    def __init__(self, dtype: str) -> None:
        self._dtype = dtype
        self._identical = True
        self._count = 0
        self._largest = [0.0, 0.0]
        self._squares = [0.0, 0.0]
        self._step = 0.0
        self._step_squares = 0.0

    def feed(self, ours: np.ndarray[Any, Any], theirs: np.ndarray[Any, Any]) -> None:
        """Take the same piece of both."""
        same = bool(np.array_equal(ours, theirs))
        self._identical &= same
        if self._dtype not in FLOATS:
            return
        pair = [values_of(raw, self._dtype) for raw in (ours, theirs)]
        finite = np.isfinite(pair[0]) & np.isfinite(pair[1])
        pair = [values[finite] for values in pair]
        if not len(pair[0]):
            return
        self._count += len(pair[0])
        with np.errstate(over="ignore"):
            for side, values in enumerate(pair):
                self._largest[side] = max(self._largest[side], float(np.abs(values).max()))
                self._squares[side] += sum_of_squares(values)
            if not same:
                step = pair[0] - pair[1]
                self._step = max(self._step, float(np.abs(step).max()))
                self._step_squares += sum_of_squares(step)

    def change(self, place: Place) -> TensorChange:
        """Return what all pieces together show."""
        status = Status.IDENTICAL if self._identical else Status.MOVED
        size, step = math.sqrt(max(self._squares)), math.sqrt(self._step_squares)
        if not self._count or not math.isfinite(size + step):
            return place.became(status)
        return place.became(
            status,
            largest=self._largest[0],
            largest_there=self._largest[1],
            largest_step=self._step,
            rms_step=step / math.sqrt(self._count),
            change=step / size if size else 0.0,
        )
