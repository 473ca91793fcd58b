"""Do the weight files hold together: sizes, offsets, shapes, and the index against its shards?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from resume_daemon.findings import Code, Finding, Severity
from resume_daemon.formats.content import ProblemKind
from resume_daemon.layouts.base import Role
from resume_daemon.layouts.transformers_weights import shard_total

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from resume_daemon.evidence import Evidence

SIZE_MISMATCH = Code(
    "RD202",
    "weights-size",
    Severity.ERROR,
    "A weight file is shorter or longer than its header says",
    "The write was cut off, or something was appended. safetensors refuses such a file.",
    "Resume from an earlier checkpoint.",
    "safetensors tensor.rs: MetadataIncompleteBuffer; LLaMA-Factory issue 8759",
)
OFFSETS_BROKEN = Code(
    "RD203",
    "weights-offsets",
    Severity.ERROR,
    "Tensors overlap or leave holes",
    "The offsets in the header do not follow one another, so some bytes belong to two tensors or "
    "to none.",
    "Resume from an earlier checkpoint.",
    "safetensors tensor.rs: InvalidOffset",
)
SHAPE_MISMATCH = Code(
    "RD204",
    "weights-shape",
    Severity.ERROR,
    "A tensor's shape or type does not agree with its bytes",
    "Shape times element size is not the length of the tensor's byte range, or its type is "
    "unknown.",
    "Resume from an earlier checkpoint.",
    "safetensors tensor.rs: TensorInvalidInfo",
)
INDEX_MISMATCH = Code(
    "RD205",
    "index-mismatch",
    Severity.ERROR,
    "The index and the shards disagree",
    "The index names a tensor that its shard does not hold, or a shard holds tensors that the "
    "index does not name: shards of two saves are mixed.",
    "Resume from an earlier checkpoint.",
    "transformers modeling_utils.py: save_pretrained writes the index after every shard",
)
SHARD_COUNT = Code(
    "RD206",
    "shard-count",
    Severity.ERROR,
    "The number of shards is not the one that their names promise",
    "Names such as model-00001-of-00004 state the number; some are missing, or two saves are "
    "mixed.",
    "Resume from an earlier checkpoint.",
)
NO_TENSORS = Code(
    "RD207",
    "weights-empty",
    Severity.ERROR,
    "The weight files hold no values",
    "The files are well formed, and hold no tensor, or none with any element: the save gathered no "
    "parameters, as under ZeRO-3 without stage3_gather_16bit_weights_on_model_save, or under FSDP1 "
    "with a low-rank adapter.",
    "Resume from an earlier checkpoint.",
    "peft and DeepSpeed: parameters that are partitioned have the shape [0] on each rank; measured "
    "on transformers 5.23 with accelerate 1.15, peft 0.21 and FSDP1: the adapter is not saved",
)

_BY_KIND = {
    ProblemKind.SIZE: SIZE_MISMATCH,
    ProblemKind.PLACE: OFFSETS_BROKEN,
    ProblemKind.SHAPE: SHAPE_MISMATCH,
}
_SHOWN = 5


def check(evidence: Evidence) -> Iterator[Finding]:
    """Yield a finding for each contradiction in and between the weight files."""
    for name in sorted(evidence.contents):
        for problem in evidence.contents[name].problems:
            if problem.kind is ProblemKind.STORE:
                continue  # Told by the check of stores.
            yield _BY_KIND[problem.kind].finding(f"{name}: {problem.message}", file=name)
    files = evidence.files(Role.WEIGHTS)
    shapes = {
        name: evidence.shapes(name, Role.WEIGHTS) for name in files if name in evidence.contents
    }
    every = [shape for found in shapes.values() for shape in found.values()]
    # ZeRO-3 leaves empty tensors here, and the values in its own files.
    alone = len(shapes) == len(files) == len(evidence.holding(Role.WEIGHTS))
    if shapes and alone and all(0 in shape for shape in every):
        first = next(iter(shapes))
        yield NO_TENSORS.finding(f"{first} holds no values", file=first)
    for shards in _by_folder(n for n in shapes if shard_total(n) is not None).values():
        totals = {total for n in shards if (total := shard_total(n)) is not None}
        if len(totals) > 1 or len(shards) > max(totals):
            yield SHARD_COUNT.finding(
                f"{len(shards)} shards are there, their names promise {sorted(totals)}"
            )
    for index in evidence.files(Role.WEIGHTS_INDEX):
        beside = _by_folder(shapes).get(_folder(index), [])
        names = {name: frozenset(shapes[name]) for name in beside}
        yield from _check_index(index, evidence.value(index), names)


def _check_index(
    index: str, document: Any, names: Mapping[str, frozenset[str]]
) -> Iterator[Finding]:
    if document is None:
        return
    weight_map = document.get("weight_map") if isinstance(document, dict) else None
    if not isinstance(weight_map, dict) or not all(isinstance(v, str) for v in weight_map.values()):
        yield INDEX_MISMATCH.finding(f"{index}: weight_map is not a map of names", file=index)
        return
    outside = {shard for shard in weight_map.values() if "/" in shard or shard in {"", ".", ".."}}
    if outside:
        yield INDEX_MISMATCH.finding(
            f"{index}: it points outside the checkpoint: {min(outside)!r}", file=index
        )
    folder = _folder(index)
    promised: dict[str, set[str]] = {}
    for tensor, shard in weight_map.items():
        promised.setdefault(folder + shard, set()).add(tensor)
    for shard in sorted(set(promised) & set(names)):
        if absent := sorted(promised[shard] - names[shard]):
            yield INDEX_MISMATCH.finding(
                f"{shard} lacks {len(absent)} tensors that the index promises: {_some(absent)}",
                file=shard,
            )
    stem = index.removesuffix(".index.json")
    suffix = stem[stem.rindex(".") :]
    held = {
        tensor: name
        for name, tensors in names.items()
        if name.endswith(suffix) and shard_total(name) is not None
        for tensor in tensors
    }
    if unnamed := sorted(set(held) - set(weight_map)):
        yield INDEX_MISMATCH.finding(
            f"{len(unnamed)} tensors are in shards but not in the index: {_some(unnamed)}",
            file=index,
        )


def _by_folder(names: Iterable[str]) -> dict[str, list[str]]:
    """Return the names in each folder: a checkpoint may hold several models."""
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(_folder(name), []).append(name)
    return found


def _folder(name: str) -> str:
    return name[: name.rfind("/") + 1]


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"
