"""A value that jumped, or a matrix that was replaced, beside the two checkpoints before.

Training moves a weight by about its learning rate at each step. What moves one value out of a
billion, or a whole matrix at once, is damage. Where training may do the same, it is left alone:
``docs/thresholds.md`` says what was measured.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final

from resume_daemon.checks.moves import is_before, moved_in, pace_of, rounding_of
from resume_daemon.checks.names import some
from resume_daemon.checks.values import IMPOSSIBLE_MAGNITUDE
from resume_daemon.findings import Code, Finding, Severity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resume_daemon.checks.moves import Moved
    from resume_daemon.evidence import Evidence

LARGEST_JUMPED = Code(
    "RD217",
    "largest-jumped",
    Severity.ERROR,
    "The largest value of a tensor has jumped away from the others",
    "It is many times as large as in the two checkpoints before, while the tensor's ordinary "
    "values are what they were. A flipped exponent bit does this to one value; training does not. "
    "Up to the square of the limit it is a warning.",
    "Resume from an earlier checkpoint, and look at the disk and the memory of the machine. A "
    "training that diverges looks the same in many tensors at once.",
    "measured: benchmarks/thresholds.py, docs/thresholds.md",
)
MOVED_TOO_FAR = Code(
    "RD218",
    "moved-too-far",
    Severity.WARNING,
    "A matrix has changed as if it had been replaced",
    "It has little in common with the one of the checkpoint before, and moved by a hundredth of "
    "that or less between the two before: it is another model's, another seed's or another "
    "layer's, or the training has come apart.",
    "If you replaced or reset it on purpose, go on. Otherwise resume from an earlier checkpoint.",
    "measured: benchmarks/thresholds.py, docs/thresholds.md",
)
REPLACED: Final = 0.5
"""Change of a tensor, as a part of its size, from which on it can be called another one. Two
tensors that have nothing in common are 1.4 apart."""

_VECTOR_ALLOWANCE: Final = 8.0
"""Biases start at zero and grow together with nothing: the limits are so many times wider."""

_FEWEST_PROBES: Final = 8


def check(evidence: Evidence) -> Iterator[Finding]:
    """Yield a finding for each file in which a tensor moved as training does not move it."""
    previous, earlier = evidence.previous, evidence.earlier
    if previous is None or not is_before(previous, evidence):
        return
    if earlier is not None and not is_before(earlier, previous):
        earlier = None
    moved = list(moved_in(evidence, previous, earlier))
    yield from _jumped(moved, evidence)
    if earlier is not None:
        yield from _too_far(moved, evidence, pace_of(evidence, previous, earlier))


def _jumped(moved: list[Moved], evidence: Evidence) -> Iterator[Finding]:
    limit = evidence.limits.largest_growth
    found: dict[str, list[tuple[float, Moved]]] = defaultdict(list)
    for each in moved:
        allowed = limit if each.is_matrix else limit * _VECTOR_ALLOWANCE
        jump = each.move.jump or 0.0
        if (each.now.largest or 0.0) > IMPOSSIBLE_MAGNITUDE:
            continue  # It has a finding of its own.
        if jump > allowed and (each.is_matrix or _is_parameter(each.now.name)):
            found[each.file].append((jump / allowed, each))
    for file, jumps in found.items():
        beyond, worst = max(jumps, key=lambda jump: jump[0])
        others = f", and {len(jumps) - 1} more tensors have jumped" if len(jumps) > 1 else ""
        before = evidence.previous.checkpoint if evidence.previous else ""
        yield LARGEST_JUMPED.finding(
            f"{file}: the largest value of {worst.now.name} is {worst.now.largest:.3g}, it was "
            f"{worst.previous.largest:.3g} in {before}, and the others have not grown{others}",
            file=file,
            severity=None if beyond > limit else Severity.WARNING,
        )


def _is_parameter(name: str) -> bool:
    """Return whether a vector is a parameter, and not a counter or the statistics of the data."""
    return name.rpartition(".")[2] in {"weight", "bias"}


def _too_far(moved: list[Moved], evidence: Evidence, pace: float) -> Iterator[Finding]:
    matrices = [
        each for each in moved if each.is_matrix and len(each.now.values()) >= _FEWEST_PROBES
    ]
    most = max((each.move.before or 0.0 for each in matrices), default=0.0)
    found: dict[str, list[Moved]] = defaultdict(list)
    for each in matrices:
        change, before = each.move.change, each.move.before
        if change is None or before is None or change < REPLACED or not any(each.previous.values()):
            continue
        # What stood still may have been frozen, and is then let go at the pace of the others.
        usual = max((before or most) * pace, rounding_of(each.now.dtype))
        if change > usual * evidence.limits.change_growth:
            found[each.file].append(each)
    for file, far in found.items():
        worst = max(far, key=lambda each: each.move.change or 0.0)
        yield MOVED_TOO_FAR.finding(
            f"{file}: {some([each.now.name for each in far], 'has', 'have')} changed by "
            f"{worst.move.change or 0.0:.0%} of the values' size, and by "
            f"{worst.move.before or 0.0:.2g} of it between the two checkpoints before",
            file=file,
        )
