"""Zeros that no trainer wrote: ends, pages and whole tensors that never reached the disk."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TYPE_CHECKING, Final

from resume_daemon.checks.names import kind_of, some
from resume_daemon.findings import Code, Finding, Severity
from resume_daemon.formats.dtypes import FLOATING
from resume_daemon.layouts.base import Role
from resume_daemon.reading.zero_runs import MOST_RUNS, PAGE, holds_page

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from resume_daemon.evidence import Evidence
    from resume_daemon.formats.tensors import TensorSpan
    from resume_daemon.manifest import TensorRecord
    from resume_daemon.reading.results import FileScan, TensorStatistics

_MATRIX: Final = 2
_ZERO_COLUMNS: Final = "lora_embedding_A"
"""Has a column for each token, which stays zero until the token is seen, in every row."""
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
LOST_PAGES = Code(
    "RD220",
    "lost-pages",
    Severity.ERROR,
    "Whole pages of zeros lie inside a tensor",
    "They begin and end where pages of the file do, in the middle of rows, and values surround "
    "them: a write that was lost, or a block of the disk that reads as zeros.",
    "Resume from an earlier checkpoint, and look at the disk.",
)
ODD_ZERO = Code(
    "RD214",
    "odd-zero",
    Severity.ERROR,
    "A tensor is all zero while its siblings in other layers are not",
    "The same matrix of other layers has values. A write that never reached the disk looks so.",
    "Resume from an earlier checkpoint.",
)


def check(evidence: Evidence) -> Iterator[Finding]:
    """Yield a finding for each stretch of zeros that cannot be what the trainer meant to save."""
    siblings: dict[str, set[str]] = defaultdict(set)
    zeros: list[tuple[str, TensorStatistics]] = []
    known = _records_before(evidence)
    for name, tensors in evidence.statistics(Role.WEIGHTS):
        spans = {span.name: span for span in evidence.contents[name].spans}
        for tensor in tensors:
            if tensor.dtype not in FLOATING:
                continue
            zero = tensor.largest == 0 and not tensor.nan and not tensor.infinite
            if not zero:
                siblings[kind_of(tensor.name)].add(tensor.name)
            # What the file system loses is a page or more: less is the trainer's own zero.
            if zero and spans[tensor.name].size >= PAGE:
                zeros.append((name, tensor))
        if not evidence.contents[name].records:  # A checksum would tell.
            scan = evidence.scans[name]
            yield from _never_written(name, scan, spans, may_be_zero=_may_be_zero(name, evidence))
            yield from _lost_pages(name, tensors, spans, known)
    turned: dict[str, list[str]] = defaultdict(list)
    odd: dict[str, list[str]] = defaultdict(list)
    for name, tensor in zeros:
        before = known.get((name, tensor.name))
        if before is not None and before.largest:
            turned[name].append(tensor.name)
        # A rank's piece of the same weight may be padding alone; one of another layer may not.
        elif (
            before is None
            and _never_zero(tensor)
            and siblings[kind_of(tensor.name)] - {tensor.name}
        ):
            odd[name].append(tensor.name)
    for name, names in turned.items():
        yield TURNED_ZERO.finding(
            f"{name}: {some(names, 'is', 'are')} all zero, and not in {_before(evidence)}",
            file=name,
        )
    for name, names in odd.items():
        yield ODD_ZERO.finding(
            f"{name}: {some(names, 'is', 'are')} all zero, the same weight of other layers is not",
            file=name,
        )


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
        if holds_page(tensor.zeros_from, span.end) and (tail % row or at_page_to_end):
            yield NEVER_WRITTEN.finding(
                f"{name}: the last {tail} bytes of {tensor.name} are zero, from byte "
                f"{tensor.zeros_from} of the file on",
                file=name,
            )
            return
    yield from _empty_end(name, scan, spans, may_be_zero=may_be_zero)


def _lost_pages(
    name: str,
    tensors: Sequence[TensorStatistics],
    spans: Mapping[str, TensorSpan],
    known: Mapping[tuple[str, str], TensorRecord],
) -> Iterator[Finding]:
    """Find pages of zeros between values.

    A tensor that has other such runs is sparse or padded on purpose; so is one that had some in the
    checkpoint before. Vectors are judged only beside that one: biases that were joined from several
    may hold one that is zero.
    """
    for tensor in tensors:
        span, before = spans.get(tensor.name), known.get((name, tensor.name))
        if span is None or tensor.dtype not in FLOATING or _ZERO_COLUMNS in tensor.name:
            continue
        if before.zero_runs if before is not None else len(tensor.shape) < _MATRIX:
            continue
        inner = [run for run in tensor.zero_runs if run[0] > span.begin and run[1] < span.end]
        lost = [whole for run in inner if (whole := _whole_pages(run, span))]
        if lost and len(lost) == len(inner) <= MOST_RUNS:
            pages = sum(end - begin for begin, end in lost) // PAGE
            yield LOST_PAGES.finding(
                f"{name}: {pages} pages of zeros lie inside {tensor.name}, the first at byte "
                f"{lost[0][0]} of the file",
                file=name,
            )
            return


def _whole_pages(run: tuple[int, int], span: TensorSpan) -> tuple[int, int] | None:
    """Return begin and end of a run of zeros that is whole pages; None where it is anything else.

    A value beside a page may begin or end in zero bytes of its own. Whole rows are padding, or
    tokens that were never seen.
    """
    begin, end = run[0] + -run[0] % PAGE, run[1] - run[1] % PAGE
    size = span.size // max(math.prod(span.shape), 1)
    if begin - run[0] >= size or run[1] - end >= size:
        return None
    row = span.size // math.prod(span.shape[:-1]) if len(span.shape) >= _MATRIX else span.size
    if (begin - span.begin) % row == 0 and (end - span.begin) % row == 0:
        return None
    return begin, end


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
    if count > 1 and matrices and holds_page(begin, scan.size):
        yield NEVER_WRITTEN.finding(
            f"{name}: its last {count} tensors are all zero, from byte {begin} on", file=name
        )


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


def _before(evidence: Evidence) -> str:
    return evidence.previous.checkpoint if evidence.previous else "the checkpoint before"
