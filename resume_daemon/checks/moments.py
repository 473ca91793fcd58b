"""The optimizer's moments: finite, possible, and not at odds with one another."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TYPE_CHECKING, Final

from resume_daemon.checks.values import IMPOSSIBLE_MAGNITUDE
from resume_daemon.findings import Code, Finding, Severity
from resume_daemon.layouts.base import Role
from resume_daemon.layouts.deepspeed import padding_in

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resume_daemon.evidence import Evidence
    from resume_daemon.reading.results import TensorStatistics

MOMENTS_AT_ODDS = Code(
    "RD312",
    "moments-at-odds",
    Severity.ERROR,
    "A first moment is larger than its second moment allows",
    "Adam averages gradients and their squares, so the first moment stays below a few roots of the "
    "second. Here it is beyond any choice of betas, in a few parameters alone: a flipped exponent "
    "bit, or moments of two saves. The next step would throw the weight away.",
    "Resume from an earlier checkpoint.",
    "Kingma and Ba, arXiv:1412.6980, section 2.1; the bound in docs/thresholds.md",
)
IMPOSSIBLE_MOMENT = Code(
    "RD313",
    "impossible-moment",
    Severity.ERROR,
    "A value of the optimizer state is impossibly large",
    "Its square overflows float32. A flipped exponent bit does this to a single value.",
    "Resume from an earlier checkpoint, and look at the disk and the memory of the machine.",
)

LARGEST_RATIO: Final = 100.0
"""Times the root of the second moment. The bound is 7.3 with betas of 0.9 and 0.999, and 73 with
0.9 and 0.99999."""

_SMALLEST: Final = 1e-15
"""Below it the square of a gradient is so small that float32 rounds it to nothing."""

_FEW: Final = 0.1
"""Part of the parameters. Optimizers that give these names another meaning (ADOPT, LaProp) are at
odds with the bound in all of them."""

_WIDE: Final = frozenset({"F32", "F64", "BF16"})
"""Types in which the square of a gradient does not underflow above ``_SMALLEST``."""


def check(evidence: Evidence) -> Iterator[Finding]:
    """Yield a finding for each file whose moments cannot be an optimizer's."""
    unused = padding_in(evidence.contents)
    for name, tensors in evidence.statistics(Role.OPTIMIZER):
        judged = () if name in unused else tensors  # One value may be what the memory held before.
        large = next((t for t in judged if (t.largest or 0.0) > IMPOSSIBLE_MAGNITUDE), None)
        if large is not None:
            yield IMPOSSIBLE_MOMENT.finding(
                f"{name}: {large.name} has a value of magnitude {large.largest:.3g}", file=name
            )
        else:
            yield from _at_odds(name, tensors)


def _at_odds(name: str, tensors: tuple[TensorStatistics, ...]) -> Iterator[Finding]:
    pairs: dict[str, dict[str, TensorStatistics]] = defaultdict(dict)
    for tensor in tensors:
        for kind in ("exp_avg", "exp_avg_sq"):
            # As torch, DeepSpeed and torch.distributed name them: last, with a dot or alone.
            parameter, _, last = tensor.name.rpartition(".")
            if last == kind and tensor.dtype in _WIDE:
                pairs[parameter][kind] = tensor
    whole = {parameter: found for parameter, found in pairs.items() if len(found) > 1}
    odd = [parameter for parameter, found in whole.items() if _is_odd(**found)]
    if not odd or len(odd) > max(_FEW * len(whole), 1) or len(odd) == len(whole):
        return
    first, second = whole[odd[0]]["exp_avg"], whole[odd[0]]["exp_avg_sq"]
    others = f", and {len(odd) - 1} more parameters" if len(odd) > 1 else ""
    yield MOMENTS_AT_ODDS.finding(
        f"{name}: {first.name} reaches {first.largest:.3g}, and its second moment no more than "
        f"{second.largest:.3g}{others}",
        file=name,
    )


def _is_odd(exp_avg: TensorStatistics, exp_avg_sq: TensorStatistics) -> bool:
    first, second = exp_avg.largest, exp_avg_sq.largest
    if first is None or second is None or first < _SMALLEST or exp_avg.shape != exp_avg_sq.shape:
        return False
    return first > LARGEST_RATIO * math.sqrt(second)
