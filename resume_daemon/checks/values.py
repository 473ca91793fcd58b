"""What the values themselves say: not finite, or impossible."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from resume_daemon.findings import Code, Finding, Severity
from resume_daemon.layouts.base import Role
from resume_daemon.layouts.deepspeed import padding_in

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resume_daemon.evidence import Evidence
    from resume_daemon.reading.results import TensorStatistics

IMPOSSIBLE_MAGNITUDE = 1.8446744e19
"""Square root of the largest float32: a weight above it overflows in its first product with itself.

A flip of the top exponent bit multiplies a value below 2 by 2^128, which lands above it for every
value that is not itself smaller than 5e-20. Trained weights stay below 1e5.
"""
_FILL = {"F32": 3.4028234663852886e38, "BF16": 3.3895313892515355e38, "F64": 1.7976931348623157e308}
"""The largest finite value of a type, which attention masks use as minus infinity."""
WEIGHTS_NOT_FINITE = Code(
    "RD211",
    "weights-not-finite",
    Severity.ERROR,
    "Weights contain NaN or infinity",
    "The model's next forward pass is NaN. Either training diverged before this save, or the bytes "
    "were damaged.",
    "Resume from a checkpoint before it.",
    "measured on transformers 5.23: a NaN in the weights raises when tokens are sampled",
)
IMPOSSIBLE_VALUE = Code(
    "RD215",
    "impossible-value",
    Severity.ERROR,
    "A weight is impossibly large",
    "Its square overflows float32, so the next forward pass does. A flipped exponent bit does this "
    "to a single value.",
    "Resume from an earlier checkpoint, and look at the disk and the memory of the machine.",
    "measured on transformers 5.23: the top exponent bit of one value flipped raises",
)
OPTIMIZER_NOT_FINITE = Code(
    "RD311",
    "optimizer-not-finite",
    Severity.ERROR,
    "The optimizer state contains NaN or infinity",
    "The next optimizer step spreads it into the weights.",
    "Resume from a checkpoint before it.",
)


def check(evidence: Evidence) -> Iterator[Finding]:
    """Yield a finding for each tensor whose values cannot be what the trainer meant to save."""
    unused = padding_in(evidence.contents)
    for role, code in (
        (Role.WEIGHTS, WEIGHTS_NOT_FINITE),
        (Role.OPTIMIZER, OPTIMIZER_NOT_FINITE),
    ):
        for name, tensors in evidence.statistics(role):
            yield from _not_finite(name, tensors, code, unused.get(name, 0))
    for name, tensors in evidence.statistics(Role.WEIGHTS):
        yield from _impossible(name, tensors)


def _not_finite(
    name: str, tensors: tuple[TensorStatistics, ...], code: Code, unused: int
) -> Iterator[Finding]:
    """Find tensors with more values that are not finite than have no meaning."""
    damaged = [t for t in tensors if t.nan + t.infinite > unused and (t.nan or not _is_mask(t))]
    if damaged:
        first = damaged[0]
        others = f", and {len(damaged) - 1} more tensors" if len(damaged) > 1 else ""
        yield code.finding(
            f"{name}: {first.name} has {first.nan} NaN and {first.infinite} infinite "
            f"values{others}",
            file=name,
        )


def _is_mask(tensor: TensorStatistics) -> bool:
    """Return whether a tensor is a stored attention mask: minus infinity on one side of a diagonal.

    Buffers such as ``attn_mask`` are part of a module's state unless they are declared otherwise
    (torch ``nn/modules/module.py: register_buffer(persistent=True)``).
    """
    *others, rows, columns = (0, 0, *tensor.shape)
    pairs = rows * (rows - 1) // 2
    whole_masks = math.prod(others[2:])
    return rows == columns > 1 and tensor.infinite == pairs * whole_masks


def _impossible(name: str, tensors: tuple[TensorStatistics, ...]) -> Iterator[Finding]:
    for tensor in tensors:
        largest = tensor.largest
        if largest is None or largest <= IMPOSSIBLE_MAGNITUDE or _is_filled(tensor):
            continue
        yield IMPOSSIBLE_VALUE.finding(
            f"{name}: {tensor.name} has a value of magnitude {largest:.3g}", file=name
        )
        return


def _is_filled(tensor: TensorStatistics) -> bool:
    """Return whether the largest value of a type fills a tensor on purpose, as in a stored mask.

    A flipped exponent bit makes the same value of the one just below 1, which norms are full of (in
    bfloat16 that is 0.996); but in one place, where a mask has it in most.
    """
    fill = _FILL.get(tensor.dtype)
    if fill is None or tensor.largest != fill:
        return False
    return tensor.rms is None or tensor.rms > fill / 2
