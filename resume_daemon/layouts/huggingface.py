"""Checkpoints of the Hugging Face ``Trainer``: TRL, unsloth, axolotl, ms-swift and many more.

Source: transformers 5.23 ``trainer.py``: ``_save_checkpoint`` (the order of writes: weights,
tokenizer, training arguments, optimizer, scheduler, scaler, RNG, trainer state last) and
``_load_from_checkpoint`` (the forms of weights that it accepts). The names are those of 4.35 on.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from resume_daemon.errors import ResumeDaemonError
from resume_daemon.layouts.base import Completeness, Format, Part, Role
from resume_daemon.listing import EntryKind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from resume_daemon.listing import Listing

INCOMPLETE_MARKER = "checkpoint-is-incomplete.txt"
"""Present while the just-in-time save on SIGTERM runs (``trainer_jit_checkpoint.py``, 5.0+)."""

TRAINER_STATE = "trainer_state.json"

# 18 digits fit every integer that such a number is stored in.
_NAME = re.compile(r"checkpoint-(\d{1,18})", re.ASCII)
# 4.36-4.38 staged in tmp-checkpoint-N; main of January 2025 in tmp-checkpoint-<random>; unsloth
# Studio in .tmp-checkpoint-*; ms-swift puts merged exports into checkpoint-N-merged.
_STAGING = re.compile(r"^\.?tmp-checkpoint-")
_SHARD = re.compile(r"^(?P<stem>.+)-(?P<number>\d{5})-of-(?P<total>\d{5})(?P<suffix>\..+)$")
_RNG = re.compile(r"rng_state(?:_(\d{1,9}))?\.pth", re.ASCII)

_FIXED: dict[str, Part] = {
    "model.safetensors": Part(Role.WEIGHTS, Format.SAFETENSORS),
    "adapter_model.safetensors": Part(Role.WEIGHTS, Format.SAFETENSORS),
    "pytorch_model.bin": Part(Role.WEIGHTS, Format.TORCH),
    "adapter_model.bin": Part(Role.WEIGHTS, Format.TORCH),
    "pytorch_model_fsdp.bin": Part(Role.WEIGHTS, Format.TORCH),
    "model.safetensors.index.json": Part(Role.WEIGHTS_INDEX, Format.JSON),
    "pytorch_model.bin.index.json": Part(Role.WEIGHTS_INDEX, Format.JSON),
    "optimizer.pt": Part(Role.OPTIMIZER, Format.TORCH),
    "optimizer.bin": Part(Role.OPTIMIZER, Format.TORCH),
    "scheduler.pt": Part(Role.SCHEDULER, Format.TORCH),
    "scaler.pt": Part(Role.SCALER, Format.TORCH),
    "training_args.bin": Part(Role.ARGUMENTS, Format.TORCH),
    "config.json": Part(Role.CONFIGURATION, Format.JSON),
    "generation_config.json": Part(Role.OTHER, Format.JSON),
    "adapter_config.json": Part(Role.ADAPTER_CONFIGURATION, Format.JSON),
    TRAINER_STATE: Part(Role.TRAINER_STATE, Format.JSON),
    INCOMPLETE_MARKER: Part(Role.MARKER, Format.OPAQUE),
    "tokenizer.json": Part(Role.TOKENIZER, Format.JSON),
    "tokenizer_config.json": Part(Role.TOKENIZER, Format.JSON),
    "vocab.json": Part(Role.TOKENIZER, Format.JSON),
    "tekken.json": Part(Role.TOKENIZER, Format.JSON),
    "vocab.txt": Part(Role.TOKENIZER, Format.OPAQUE),
    "bpe.codes": Part(Role.TOKENIZER, Format.OPAQUE),
}
# tokenizer.model, spiece.model, sentencepiece.bpe.model, source.spm, qwen.tiktoken (the names in
# vocab_files_names of the tokenizers in transformers/models).
_VOCABULARY = re.compile(r"[^/]+\.(?:model|spm|tiktoken)")
_ADAPTER_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
_ADAPTER_CONFIGURATION = "adapter_config.json"
# Weights and optimizers that other engines put into the same directory. Their bytes are digested;
# their structure is not judged by this layout.
_FOREIGN_WEIGHTS = re.compile(r"^(?:pytorch_model_fsdp[^/]*|global_step\d+)(?:/|$)")
_FOREIGN_OPTIMIZER = re.compile(r"^optimizer_\d+(?:[^/]*\.bin$|/)")
_DEEPSPEED = re.compile(r"^global_step\d+/")


class HuggingFace:
    """``checkpoint-N`` in the output directory."""

    name = "huggingface"

    def step_of(self, directory_name: str) -> int | None:
        """Return N of ``checkpoint-N`` (``trainer_utils.py: _re_checkpoint``)."""
        match = _NAME.fullmatch(directory_name)
        return int(match[1]) if match else None

    def is_staging(self, directory_name: str) -> bool:
        """Return whether the name is one of the staging forms that trainers have used."""
        return bool(_STAGING.match(directory_name))

    def recognises(self, listing: Listing) -> bool:
        """Return whether the trainer state or any form of weights is there."""
        return TRAINER_STATE in listing or any(
            part.role in {Role.WEIGHTS, Role.WEIGHTS_INDEX} for part in self.parts(listing).values()
        )

    def parts(self, listing: Listing) -> Mapping[str, Part]:
        """Return what each file is."""
        return {name: _part(name) for name in listing}

    def completeness(self, listing: Listing, read_json: Callable[[str], Any]) -> Completeness:
        """Return whether weights in one of their forms, with every shard, and the state are there.

        The trainer state is the last file of rank 0, not of the job: other ranks' RNG files may
        land after it, which is why a checkpoint must be quiet as well.
        """
        saved = TRAINER_STATE in listing
        missing = [] if saved else [TRAINER_STATE]
        missing += _missing_weights(listing, read_json)
        marker = INCOMPLETE_MARKER if INCOMPLETE_MARKER in listing else None
        return Completeness(tuple(missing), saved and marker is None, marker)


def is_deepspeed(listing: Listing) -> bool:
    """Return whether the DeepSpeed engine saved weights and optimizer into ``global_step*/``."""
    return any(_DEEPSPEED.match(name) for name in listing)


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
    """Return N of a shard's ``...-0000k-of-0000N...``; None for a file that is no shard."""
    match = _SHARD.match(name.rpartition("/")[2])
    return int(match["total"]) if match else None


def _part(name: str) -> Part:
    if (fixed := _FIXED.get(name)) is not None:
        return fixed
    if match := _RNG.fullmatch(name):
        return Part(Role.RNG, Format.TORCH, int(match[1]) if match[1] else None)
    if _FOREIGN_WEIGHTS.match(name):
        return Part(Role.WEIGHTS, Format.OPAQUE)
    if _FOREIGN_OPTIMIZER.match(name):
        return Part(Role.OPTIMIZER, Format.OPAQUE)
    folder, _, base = name.rpartition("/")
    if folder and base in {*_ADAPTER_WEIGHTS, _ADAPTER_CONFIGURATION}:
        return _FIXED[base]  # Several adapters: one sub-directory each (peft save_pretrained).
    if not folder and (match := _SHARD.match(name)):
        if match["suffix"] == ".safetensors":
            return Part(Role.WEIGHTS, Format.SAFETENSORS)
        if match["suffix"] == ".bin":
            return Part(Role.WEIGHTS, Format.TORCH)
    if base.endswith(".json") and not folder:
        return Part(Role.OTHER, Format.JSON)
    if _VOCABULARY.fullmatch(name):
        return Part(Role.TOKENIZER, Format.OPAQUE)
    return Part(Role.OTHER, Format.OPAQUE)


def _missing_weights(listing: Listing, read_json: Callable[[str], Any]) -> Iterator[str]:
    """Yield what the weights lack; nothing where one whole form of them is there."""
    whole = {
        name for name in listing if _part(name).role is Role.WEIGHTS and shard_total(name) is None
    }
    if whole:
        if all(name.endswith(_ADAPTER_WEIGHTS) for name in whole):
            for name in unpaired_adapters(listing)[0]:
                yield _adapter_weights(name)
        return
    # The trainer prefers safetensors, too (transformers trainer_utils.py: load_sharded_checkpoint).
    indexes = sorted(n for n in listing if _part(n).role is Role.WEIGHTS_INDEX)
    if indexes:
        yield from _missing_shards(indexes[0], listing, read_json)
    elif shards := [n for n in listing if _part(n).role is Role.WEIGHTS]:
        suffix = shards[0].rpartition(".")[2]
        stem = "model.safetensors" if suffix == "safetensors" else "pytorch_model.bin"
        yield f"{stem}.index.json (its shards are there)"
    elif adapters := unpaired_adapters(listing)[0]:
        yield from map(_adapter_weights, adapters)
    else:
        yield "weights (model.safetensors, its shards and index, pytorch_model.bin, or an adapter)"


def _adapter_weights(configuration: str) -> str:
    folder = configuration.removesuffix(_ADAPTER_CONFIGURATION)
    return f"{folder}{_ADAPTER_WEIGHTS[0]} (or {_ADAPTER_WEIGHTS[1]})"


def _missing_shards(index: str, listing: Listing, read_json: Callable[[str], Any]) -> Iterator[str]:
    if listing.entries[index].kind is not EntryKind.FILE:
        yield f"{index} (what is there is no file of this run)"
        return
    try:
        document = read_json(index)
        names = sorted({str(shard) for shard in document["weight_map"].values()})
    except (ResumeDaemonError, KeyError, TypeError, AttributeError):
        yield f"{index} (what is there cannot be read)"
        return
    yield from (name for name in names if name not in listing)
