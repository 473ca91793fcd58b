"""Models as ``save_pretrained`` writes them: whole, in shards, adapters; alone or in any folder.

Source: transformers 5.23 ``modeling_utils.py: save_pretrained``, ``trainer_utils.py:
load_sharded_checkpoint``, peft 0.21 ``peft_model.py: save_pretrained``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from resume_daemon.errors import ResumeDaemonError
from resume_daemon.layouts.base import Format, Missing, Role, rule
from resume_daemon.listing import EntryKind

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from resume_daemon.layouts.base import Around, Part, Rule
    from resume_daemon.listing import Listing

_SHARD = re.compile(r"^(?P<stem>.+)-(?P<number>\d{5})-of-(?P<total>\d{5})(?P<suffix>\..+)$")
_ADAPTER_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
_ADAPTER_CONFIGURATION = "adapter_config.json"

WEIGHTS: tuple[Rule, ...] = (
    rule(r"model\.safetensors", Role.WEIGHTS, Format.SAFETENSORS),
    rule(r"pytorch_model\.bin", Role.WEIGHTS, Format.TORCH),
    rule(r"[^/]+-\d{5}-of-\d{5}\.safetensors", Role.WEIGHTS, Format.SAFETENSORS),
    rule(r"[^/]+-\d{5}-of-\d{5}\.bin", Role.WEIGHTS, Format.TORCH),
    rule(
        r"(?:model\.safetensors|pytorch_model\.bin)\.index\.json", Role.WEIGHTS_INDEX, Format.JSON
    ),
)
"""What ``save_pretrained`` writes of a model that is no adapter."""

ADAPTERS: tuple[Rule, ...] = (
    # Several adapters: one sub-directory each (peft save_pretrained).
    rule(r"(?:[^/]+/)*adapter_model\.safetensors", Role.WEIGHTS, Format.SAFETENSORS),
    rule(r"(?:[^/]+/)*adapter_model\.bin", Role.WEIGHTS, Format.TORCH),
    rule(r"(?:[^/]+/)*adapter_config\.json", Role.ADAPTER_CONFIGURATION, Format.JSON),
)

SIDE_FILES: tuple[Rule, ...] = (
    rule(r"config\.json", Role.CONFIGURATION, Format.JSON),
    rule(r"(?:tokenizer|tokenizer_config|vocab|tekken)\.json", Role.TOKENIZER, Format.JSON),
    # tokenizer.model, spiece.model, sentencepiece.bpe.model, source.spm, qwen.tiktoken (the names
    # in vocab_files_names of the tokenizers in transformers/models).
    rule(r"vocab\.txt|bpe\.codes|[^/]+\.(?:model|spm|tiktoken)", Role.TOKENIZER, Format.OPAQUE),
)
"""What stands beside the weights of ``save_pretrained``."""

EXPORTED: tuple[Rule, ...] = (
    # A resume builds the model from the script's own configuration.
    rule(r"(?:[^/]+/)*(?:config|adapter_config)\.json", Role.OTHER, Format.JSON),
    *WEIGHTS,
    *ADAPTERS,
    *SIDE_FILES,
)
"""A model that other trainers put beside their own state, for others to load."""


def unpaired_adapters(listing: Listing) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the adapter configurations without weights, and the weights without configuration.

    Each adapter has a directory of its own, where both are written (peft ``save_pretrained``).
    """
    weights: dict[str, str] = {}
    configurations: dict[str, str] = {}
    for name in listing:
        folder, _, base = name.rpartition("/")
        if base in _ADAPTER_WEIGHTS:
            weights[folder] = name
        elif base == _ADAPTER_CONFIGURATION:
            configurations[folder] = name
    return (
        tuple(sorted(name for folder, name in configurations.items() if folder not in weights)),
        tuple(sorted(name for folder, name in weights.items() if folder not in configurations)),
    )


def shard_total(name: str) -> int | None:
    """Return N of a shard's ``...-0000k-of-0000N...``; None for a file that is no shard.

    Where each rank writes its own piece of every file, N is no number of files
    (``shard-00001-model-0000k-of-0000N``: torch ``distributed/checkpoint/_hf_utils.py``).
    """
    base = name.rpartition("/")[2]
    match = _SHARD.match(base)
    return int(match["total"]) if match and not base.startswith("shard-") else None


def missing_weights(
    parts: Mapping[str, Part], listing: Listing, around: Around
) -> Iterator[Missing]:
    """Yield what the weights lack; nothing where one whole form of them is there."""
    weights = [name for name, part in parts.items() if part.role is Role.WEIGHTS]
    whole = {name for name in weights if shard_total(name) is None}
    if whole:
        if all(name.endswith(_ADAPTER_WEIGHTS) for name in whole):
            for name in unpaired_adapters(listing)[0]:
                yield _adapter_weights(name)
        return
    # The trainer prefers safetensors, too (transformers trainer_utils.py: load_sharded_checkpoint).
    indexes = sorted(n for n, part in parts.items() if part.role is Role.WEIGHTS_INDEX)
    if indexes:
        yield from missing_shards(indexes[0], listing, around)
    elif weights:
        suffix = weights[0].rpartition(".")[2]
        stem = "model.safetensors" if suffix == "safetensors" else "pytorch_model.bin"
        yield Missing(Role.WEIGHTS_INDEX, f"{stem}.index.json (its shards are there)")
    elif adapters := unpaired_adapters(listing)[0]:
        yield from map(_adapter_weights, adapters)
    else:
        yield Missing(
            Role.WEIGHTS,
            "weights (model.safetensors, its shards and index, pytorch_model.bin, or an adapter)",
        )


def _adapter_weights(configuration: str) -> Missing:
    folder = configuration.removesuffix(_ADAPTER_CONFIGURATION)
    return Missing(Role.WEIGHTS, f"{folder}{_ADAPTER_WEIGHTS[0]} (or {_ADAPTER_WEIGHTS[1]})")


def missing_shards(index: str, listing: Listing, around: Around) -> Iterator[Missing]:
    """Yield the shards that an index promises and that are not there, beside the index."""
    if listing.entries[index].kind is not EntryKind.FILE:
        yield Missing(Role.WEIGHTS_INDEX, f"{index} (what is there is no file of this run)")
        return
    try:
        document = around.json(index)
        names = sorted({str(shard) for shard in document["weight_map"].values()})
    except (ResumeDaemonError, KeyError, TypeError, AttributeError):
        yield Missing(Role.WEIGHTS_INDEX, f"{index} (what is there cannot be read)")
        return
    folder = index[: index.rfind("/") + 1]
    yield from (Missing(Role.WEIGHTS, folder + n) for n in names if folder + n not in listing)
