"""How each tensor moved since the same one of the two checkpoints before: numbers, no judgement."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Final

from resume_daemon.layouts.base import Role
from resume_daemon.manifest import TensorRecord

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from resume_daemon.evidence import Evidence
    from resume_daemon.manifest import Manifest

_ROUNDING: Final = {"BF16": 2.0**-8, "F16": 2.0**-11, "F8_E4M3": 2.0**-4, "F8_E5M2": 2.0**-3}
_LEAST_ROUNDING: Final = 1e-6
"""Change that rounding alone makes, by type; and of the finer types."""


@dataclass(frozen=True, slots=True)
class Move:
    """How one tensor moved.

    Attributes:
        growth: Its largest magnitude by the larger one of those before; None where that is zero.
        ordinary: The same of the median magnitude of its probes, by the checkpoint before; None
            where that is zero or not known.
        change: Distance of its probes from those before, by the larger size of both: 0 where
            nothing moved, 1.4 where both have nothing in common. None where it is not known.
        before: The same between the two checkpoints before.
    """

    growth: float | None
    ordinary: float | None
    change: float | None
    before: float | None

    @property
    def jump(self) -> float | None:
        """How many times more the largest value has grown than the ordinary ones."""
        if self.growth is None or self.ordinary is None:
            return None
        return self.growth / max(self.ordinary, 1.0)


def move_of(now: TensorRecord, previous: TensorRecord, earlier: TensorRecord | None) -> Move:
    """Return how a tensor moved from the checkpoints before, of the same shape and type."""
    known = [each.largest for each in (previous, earlier) if each and each.largest is not None]
    most = max(known, default=0.0)
    values, then = now.values(), previous.values()
    ordinary = median(map(abs, then)) if then and values else 0.0
    return Move(
        growth=now.largest / most if now.largest is not None and most else None,
        ordinary=median(map(abs, values)) / ordinary if ordinary else None,
        change=change_of(values, then),
        before=None if earlier is None else change_of(then, earlier.values()),
    )


def change_of(values: Sequence[float], then: Sequence[float]) -> float | None:
    """Return the distance of values by the larger size of both; None where none were kept."""
    if not values or len(values) != len(then):
        return None
    size = max(math.hypot(*values), math.hypot(*then))
    return math.dist(values, then) / size if size else 0.0


@dataclass(frozen=True, slots=True)
class Moved:
    """One tensor of this checkpoint, with how it moved.

    Its shape is that of the tensor, where its record has that of the storage behind it.
    """

    file: str
    shape: tuple[int, ...]
    now: TensorRecord
    previous: TensorRecord
    move: Move

    @property
    def is_matrix(self) -> bool:
        """Whether it has two dimensions or more."""
        return len(self.shape) > 1

    @property
    def is_still(self) -> bool:
        """Whether its bytes are those of the checkpoint before."""
        return self.now.checksum is not None and self.now.checksum == self.previous.checksum


def is_before(manifest: Manifest, than: Evidence | Manifest) -> bool:
    """Return whether a checkpoint is of an earlier step; a step that is not known is none."""
    return manifest.step is not None and than.step is not None and manifest.step < than.step


def pace_of(evidence: Evidence, previous: Manifest, earlier: Manifest) -> float:
    """Return how many times more steps were made since the checkpoint before than before it."""
    if evidence.step is None or previous.step is None or earlier.step is None:
        return 1.0
    return max((evidence.step - previous.step) / (previous.step - earlier.step), 1.0)


def moved_in(evidence: Evidence, previous: Manifest, earlier: Manifest | None) -> Iterator[Moved]:
    """Yield every tensor of weights that the checkpoint before has as well, and that is finite."""
    for file, tensors in evidence.statistics(Role.WEIGHTS):
        before = {record.name: record for record in previous.tensors.get(file, ())}
        first = {record.name: record for record in earlier.tensors.get(file, ())} if earlier else {}
        for tensor in tensors:
            now = TensorRecord.of(tensor)
            if (then := before.get(now.name)) is None or not alike(now, then):
                continue
            known = first.get(now.name)
            known = known if known is not None and alike(now, known) else None
            if not now.nonfinite and not then.nonfinite:  # They have a finding of their own.
                shape = evidence.contents[file].shapes.get(now.name, now.shape)
                yield Moved(file, shape, now, then, move_of(now, then, known))


def alike(one: TensorRecord, other: TensorRecord) -> bool:
    """Return whether two records are of the same type and shape."""
    return (one.dtype, one.shape) == (other.dtype, other.shape)


def rounding_of(dtype: str) -> float:
    """Return the change of a tensor, as a part of its size, that rounding alone makes."""
    return _ROUNDING.get(dtype, _LEAST_ROUNDING)
