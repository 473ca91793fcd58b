"""The index of weights in shards, from the shards' own headers.

Source: transformers 5.24 ``modeling_utils.py: save_pretrained`` and huggingface_hub 2.4
``serialization/_base.py: split_state_dict_into_shards_factory``. Loaders read the weight map alone
(``load_sharded_checkpoint``, ``get_checkpoint_shard_files``).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from resume_daemon.repair.rebuilding.outcome import Rebuilt, Refused

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_SHARD: Final = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<total>\d{5})(?P<suffix>\.\w+)")

INDEXES: Final = {
    "model.safetensors.index.json": ("model", ".safetensors"),
    "pytorch_model.bin.index.json": ("pytorch_model", ".bin"),
}
"""What an index is called, and how its shards' names begin and end."""


@dataclass(frozen=True, slots=True)
class Shard:
    """One shard, as its header describes it.

    Attributes:
        tensors: Bytes of each tensor, by its name.
        elements: Values of all tensors together.
        fault: Why the header cannot be relied on, or None.
    """

    tensors: Mapping[str, int]
    elements: int
    fault: str | None = None


def shards_of(index: str, names: Sequence[str]) -> tuple[str, ...]:
    """Return which of a checkpoint's files are shards of an index, in their order."""
    stem, suffix = INDEXES[index]
    found = [match for name in names if (match := _SHARD.fullmatch(name))]
    return tuple(sorted(m[0] for m in found if (m["stem"], m["suffix"]) == (stem, suffix)))


def rebuild(shards: Mapping[str, Shard], like: Any = None) -> tuple[Rebuilt, ...] | Refused:
    """Return the index that the shards belong to, in each form that its writer may have given it.

    Args:
        shards: Every shard that is there, by its file's name.
        like: The index of another checkpoint of the run, decoded; None where there is none.

    Returns:
        The most certain form first. They differ in metadata that no loader reads.
    """
    if reason := _incomplete(shards):
        return Refused(reason)
    weight_map: dict[str, str] = {}
    for name, shard in shards.items():
        if shard.fault is not None:
            return Refused(f"{name} cannot be relied on: {shard.fault}")
        for tensor in shard.tensors:
            if tensor in weight_map:
                return Refused(f"{tensor!r} stands in {weight_map[tensor]} and in {name}")
            weight_map[tensor] = name
    total = sum(size for shard in shards.values() for size in shard.tensors.values())
    source = f"the headers of its {len(shards)} shards"
    return tuple(_forms(weight_map, total, shards, like, source))


def _incomplete(shards: Mapping[str, Shard]) -> str | None:
    found = [match for name in shards if (match := _SHARD.fullmatch(name))]
    totals = {int(match["total"]) for match in found}
    if len(totals) != 1:
        many = ", ".join(map(str, sorted(totals)))
        return f"there are shards of {many} in all" if totals else "there is no shard"
    (total,) = totals
    numbers = {int(match["number"]) for match in found}
    if missing := sorted(set(range(1, total + 1)) - numbers):
        return f"of {total} shards, number {', '.join(map(str, missing[:5]))} is missing"
    return None


def _forms(
    weight_map: Mapping[str, str],
    total: int,
    shards: Mapping[str, Shard],
    like: Any,
    source: str,
) -> Iterator[Rebuilt]:
    known = like if isinstance(like, dict) else {}
    metadata = known.get("metadata")
    agrees = isinstance(metadata, dict) and metadata.get("total_size") == total
    if agrees and known.get("weight_map") == weight_map:
        # The same tensors in the same shards: what the trainer counted there is the same here.
        yield Rebuilt(_encoded(known), f"{source}, with the metadata of another checkpoint's")
        return
    counted = {"total_size": total}
    yield Rebuilt(
        _encoded({"metadata": counted, "weight_map": weight_map}),
        source,
        ("Its total_parameters is left out: only the trainer knows it, and no loader reads it.",),
    )
    counted = {"total_parameters": sum(s.elements for s in shards.values()), **counted}
    yield Rebuilt(_encoded({"metadata": counted, "weight_map": weight_map}), source)


def _encoded(index: Any) -> bytes:
    return (json.dumps(index, indent=2, sort_keys=True) + "\n").encode()
