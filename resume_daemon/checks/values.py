"""What the values themselves say: not finite, never written, impossible, or not moving."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from typing import TYPE_CHECKING

from resume_daemon.findings import Code, Finding, Severity
from resume_daemon.formats.dtypes import FLOATING
from resume_daemon.layouts.base import Role
from resume_daemon.manifest import resource_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from resume_daemon.evidence import Evidence
    from resume_daemon.formats.tensors import TensorSpan
    from resume_daemon.manifest import TensorRecord
    from resume_daemon.reading.results import FileScan, TensorStatistics

PAGE = 4096
"""Bytes of the smallest unit that a file system loses when a write never reaches the disk."""

IMPOSSIBLE_MAGNITUDE = 1.8446744e19
"""Square root of the largest float32: a weight above it overflows in its first product with itself.

A flip of the top exponent bit multiplies a value below 2 by 2^128, which lands above it for every
value that is not itself smaller than 5e-20. Trained weights stay below 1e5.
"""
_ZERO_COLUMNS = "lora_embedding_A"
"""Has a column for each token, which stays zero until the token is seen, in every row."""

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
NEVER_WRITTEN = Code(
    "RD212",
    "never-written",
    Severity.ERROR,
    "The end of a file is zeros that were never written",
    "A crash or a full network file system leaves a file of the right size whose last pages never "
    "reached the disk. The header is fine, so every loader accepts it.",
    "Resume from an earlier checkpoint.",
    "measured on transformers 5.23: weights whose second half is zero, the trainer resumes",
)
TURNED_ZERO = Code(
    "RD213",
    "turned-zero",
    Severity.ERROR,
    "A tensor is all zero that was not zero in the checkpoint before",
    "Training does not do this to a weight matrix from one save to the next; a lost write does.",
    "Resume from an earlier checkpoint.",
)
ODD_ZERO = Code(
    "RD214",
    "odd-zero",
    Severity.ERROR,
    "A tensor is all zero while its siblings in other layers are not",
    "The same matrix of other layers has values. A write that never reached the disk looks so.",
    "Resume from an earlier checkpoint.",
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
UNCHANGED_WEIGHTS = Code(
    "RD216",
    "weights-unchanged",
    Severity.WARNING,
    "The weights are byte for byte those of the checkpoint before",
    "Steps passed, and nothing was learned, or an older file was saved again under a new name.",
    "Look at gradient norm and learning rate; if both were above zero, the save is wrong.",
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
    for role, code in (
        (Role.WEIGHTS, WEIGHTS_NOT_FINITE),
        (Role.OPTIMIZER, OPTIMIZER_NOT_FINITE),
    ):
        for name, tensors in evidence.statistics(role):
            yield from _not_finite(name, tensors, code)
    yield from _zeros(evidence)
    for name, tensors in evidence.statistics(Role.WEIGHTS):
        yield from _impossible(name, tensors)
    yield from _unchanged(evidence)


def _not_finite(name: str, tensors: tuple[TensorStatistics, ...], code: Code) -> Iterator[Finding]:
    damaged = [t for t in tensors if t.nan or (t.infinite and not _is_mask(t))]
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


def _zeros(evidence: Evidence) -> Iterator[Finding]:
    siblings: dict[str, list[bool]] = defaultdict(list)
    zeros: list[tuple[str, TensorStatistics]] = []
    for name, tensors in evidence.statistics(Role.WEIGHTS):
        spans = {span.name: span for span in evidence.contents[name].spans}
        for tensor in tensors:
            if tensor.dtype not in FLOATING:
                continue
            zero = tensor.largest == 0 and not tensor.nan and not tensor.infinite
            siblings[_kind(tensor.name)].append(zero)
            # What the file system loses is a page or more: less is the trainer's own zero.
            if zero and spans[tensor.name].size >= PAGE:
                zeros.append((name, tensor))
        if not evidence.contents[name].records:  # A checksum would tell.
            scan = evidence.scans[name]
            yield from _never_written(name, scan, spans, may_be_zero=_may_be_zero(name, evidence))
    turned: dict[str, list[str]] = defaultdict(list)
    odd: dict[str, list[str]] = defaultdict(list)
    known = _records_before(evidence)
    for name, tensor in zeros:
        before = known.get((name, tensor.name))
        if before is not None and before.largest:
            turned[name].append(tensor.name)
        elif before is None and _never_zero(tensor) and not all(siblings[_kind(tensor.name)]):
            odd[name].append(tensor.name)
    for name, names in turned.items():
        yield TURNED_ZERO.finding(
            f"{name}: {_some(names)} all zero, and not in {_before(evidence)}", file=name
        )
    for name, names in odd.items():
        yield ODD_ZERO.finding(
            f"{name}: {_some(names)} all zero, the same weight of other layers is not",
            file=name,
        )


def _some(tensors: list[str]) -> str:
    """Return the first of some tensors and the number of others, with the verb."""
    if len(tensors) == 1:
        return f"{tensors[0]} is"
    return f"{tensors[0]} and {len(tensors) - 1} more tensors are"


def _records_before(evidence: Evidence) -> dict[tuple[str, str], TensorRecord]:
    """Return what is kept of each tensor of the checkpoint before, by file and name."""
    if evidence.previous is None:
        return {}
    files = evidence.holding(Role.WEIGHTS)
    return {
        (file, record.name): record
        for file in files
        for record in evidence.previous.tensors.get(file, ())
    }


def _never_written(
    name: str, scan: FileScan, spans: Mapping[str, TensorSpan], *, may_be_zero: bool
) -> Iterator[Finding]:
    """Find values that end in zeros over whole pages.

    Rows of padding at the end of an embedding are zero too, but they begin at a row; a lost write
    begins where a page or a cut begins. Where both fall together, the tail is judged only if it
    runs on to the end of the file.
    """
    for tensor in scan.tensors:
        span = spans.get(tensor.name)
        if span is None or tensor.zeros_from in {span.begin, span.end}:
            continue
        if tensor.dtype not in FLOATING or _ZERO_COLUMNS in tensor.name:
            continue
        tail = span.end - tensor.zeros_from
        row = span.size // math.prod(span.shape[:-1])
        at_page_to_end = span.end == scan.size and tensor.zeros_from % PAGE == 0
        if _holds_page(tensor.zeros_from, span.end) and (tail % row or at_page_to_end):
            yield NEVER_WRITTEN.finding(
                f"{name}: the last {tail} bytes of {tensor.name} are zero, from byte "
                f"{tensor.zeros_from} of the file on",
                file=name,
            )
            return
    yield from _empty_end(name, scan, spans, may_be_zero=may_be_zero)


def _empty_end(
    name: str, scan: FileScan, spans: Mapping[str, TensorSpan], *, may_be_zero: bool
) -> Iterator[Finding]:
    """Find a file that ends in several tensors of nothing but zeros, a matrix among them.

    One zero tensor at the end is not enough: fresh biases and the second halves of adapters are
    zero by design, and lie between tensors that are not.
    """
    begin, matrices, count = scan.size, 0, 0
    for tensor in sorted(
        scan.tensors, key=lambda t: -spans[t.name].begin if t.name in spans else 0
    ):
        span = spans.get(tensor.name)
        if span is None or span.end != begin or tensor.zeros_from > span.begin:
            break
        begin, count = span.begin, count + 1
        matrices += _never_zero(tensor)
    if may_be_zero and count == len(scan.tensors):
        return
    if count > 1 and matrices and _holds_page(begin, scan.size):
        yield NEVER_WRITTEN.finding(
            f"{name}: its last {count} tensors are all zero, from byte {begin} on", file=name
        )


def _holds_page(begin: int, end: int) -> bool:
    """Return whether at least one whole page lies between two offsets."""
    return -begin % PAGE + PAGE <= end - begin


def _unchanged(evidence: Evidence) -> Iterator[Finding]:
    before = evidence.previous
    files = evidence.files(Role.WEIGHTS)
    if before is None or not files or any(name not in evidence.scans for name in files):
        return
    if before.step is None or evidence.step is None or before.step >= evidence.step:
        return
    now = {
        (resource_name(name, r.begin, r.end, scan.size), r.digest)
        for name in files
        for scan in (evidence.scans[name],)
        for r in scan.ranges
    }
    then = {(r.name, r.digest) for name in files for r in before.digests_of(name)}
    if now != then:
        return
    idle = nothing_to_learn(evidence, before.step)
    yield UNCHANGED_WEIGHTS.finding(
        f"the weights are those of {before.checkpoint}, byte for byte"
        + (f" ({idle})" if idle else ""),
        file=files[0],
        severity=Severity.INFO if idle else None,
    )


def nothing_to_learn(evidence: Evidence, since: int | None) -> str | None:
    """Return why weights did not move, where the trainer's own log explains it."""
    state = evidence.document(Role.TRAINER_STATE)
    log = state.get("log_history") if isinstance(state, dict) else None
    since = -1 if since is None else since
    entries = [
        e
        for e in (log if isinstance(log, list) else ())
        if isinstance(e, dict) and isinstance(e.get("step"), int) and e["step"] > since
    ]
    trained = [e for e in entries if "grad_norm" in e or "learning_rate" in e]
    if trained and all(e.get("grad_norm") == 0 or e.get("learning_rate") == 0 for e in trained):
        return "gradient or learning rate were zero"
    return None


def _never_zero(tensor: TensorStatistics) -> bool:
    """Return whether training never leaves such a tensor at zero.

    Biases and one of the two matrices of an adapter start at zero, and stay there where no gradient
    arrives (an expert that no token was routed to): the second, but of an embedding the first
    (peft ``tuners/lora/layer.py: reset_lora_parameters``).
    """
    return (
        len(tensor.shape) > 1 and "lora_B" not in tensor.name and _ZERO_COLUMNS not in tensor.name
    )


def _may_be_zero(name: str, evidence: Evidence) -> bool:
    """Return whether a file of weights may hold zeros alone: a fresh adapter, unless it is LoRA.

    OFT, MiSS and others have no parameter that does not start at zero (measured with peft 0.21).
    """
    folder, _, base = name.rpartition("/")
    configuration = f"{folder}/adapter_config.json" if folder else "adapter_config.json"
    document = evidence.value(configuration)
    return (
        base == "adapter_model.safetensors"
        and isinstance(document, dict)
        and document.get("peft_type") != "LORA"
    )


def _kind(name: str) -> str:
    """Return a parameter's name without layer and expert, so that siblings share it.

    Only numbers that stand alone are taken out: ``w1`` and ``w2`` are no siblings.
    """
    return re.sub(r"(?<![^.])\d+(?![^.])", "#", name)


def _before(evidence: Evidence) -> str:
    return evidence.previous.checkpoint if evidence.previous else "the checkpoint before"
