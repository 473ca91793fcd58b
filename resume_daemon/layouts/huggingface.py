"""Checkpoints of the Hugging Face ``Trainer``: TRL, unsloth, axolotl, ms-swift and many more.

Source: transformers 5.23 ``trainer.py``: ``_save_checkpoint`` (the order of writes: weights,
tokenizer, training arguments, optimizer, scheduler, scaler, RNG, trainer state last) and
``_load_from_checkpoint`` (the forms of weights that it accepts). The names are those of 4.35 on.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from resume_daemon.errors import ResumeDaemonError
from resume_daemon.layouts import dcp, deepspeed
from resume_daemon.layouts.base import (
    RANK,
    STEP,
    Around,
    Completeness,
    Facts,
    Format,
    Layout,
    Missing,
    Part,
    Role,
    Rule,
    name_of,
    rule,
    under,
)
from resume_daemon.layouts.dcp import dcp_rules
from resume_daemon.layouts.deepspeed import deepspeed_rules
from resume_daemon.layouts.ranks import missing_ranks
from resume_daemon.listing import EntryKind

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from resume_daemon.layouts.base import Content
    from resume_daemon.listing import Listing

INCOMPLETE_MARKER = "checkpoint-is-incomplete.txt"
"""Present while the just-in-time save on SIGTERM runs (``trainer_jit_checkpoint.py``, 5.0+)."""

TRAINER_STATE = "trainer_state.json"

_SHARD = re.compile(r"^(?P<stem>.+)-(?P<number>\d{5})-of-(?P<total>\d{5})(?P<suffix>\..+)$")
_ADAPTER_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
_ADAPTER_CONFIGURATION = "adapter_config.json"
_DEEPSPEED = re.compile(r"^global_step\d+/")
_ENGINE = re.compile(r"(?:global_step\d+|pytorch_model_fsdp[^/]*|optimizer_\d+)/", re.ASCII)

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

FSDP_SETS = frozenset({"FSDP model", "FSDP optimizer"})

FSDP: tuple[Rule, ...] = (
    # Sharded: a directory of torch.distributed.checkpoint each.
    *under(r"pytorch_model_fsdp_\d+", dcp_rules(Role.WEIGHTS)),
    *under(r"optimizer_\d+", dcp_rules(Role.OPTIMIZER)),
    # Full: one file; the optimizer is optimizer.bin.
    rule(r"pytorch_model_fsdp(?:_\d+)?\.bin", Role.WEIGHTS, Format.TORCH),
    # Local, or without DCP: a file of each rank.
    rule(
        rf"pytorch_model_fsdp(?:_\d+)?_rank{RANK}\.bin", Role.WEIGHTS, Format.TORCH, of="FSDP model"
    ),
    rule(rf"optimizer(?:_\d+)?_rank{RANK}\.bin", Role.OPTIMIZER, Format.TORCH, of="FSDP optimizer"),
)
"""What FSDP writes (accelerate 1.15 ``utils/fsdp_utils.py``: save_fsdp_model, ..._optimizer)."""

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


class HuggingFace(Layout):
    """``checkpoint-N`` in the output directory."""

    name = "huggingface"
    facts = Facts(
        written_by="transformers Trainer, and with it TRL, unsloth, axolotl, ms-swift and "
        "LLaMA-Factory v0",
        recognised="trainer_state.json, or weights in any form that the trainer loads",
        step="N of checkpoint-N, which is global_step of trainer_state.json",
        required="trainer_state.json; one of model.safetensors, pytorch_model.bin, an index with "
        "all of its shards, an adapter with its configuration, or what FSDP or DeepSpeed wrote",
        marker="none; trainer_state.json is the last file of rank 0, and "
        "checkpoint-is-incomplete.txt says that a save on SIGTERM did not end",
        staging="tmp-checkpoint-N (4.36 to 4.38), tmp-checkpoint-<random>, .tmp-checkpoint-*",
        ranks="rng_state_R.pth of each; how many there were is in training_args.bin",
        rotation="nothing: the whole directory goes",
        later="TRL's entropy_ctrl_state.json, whatever on_save callbacks write, other ranks' "
        "random states",
        source="transformers 5.23 trainer.py: _save_checkpoint, _load_from_checkpoint",
    )
    names = (name_of(rf"checkpoint-{STEP}"),)
    # 4.36-4.38 staged in tmp-checkpoint-N; main of January 2025 in tmp-checkpoint-<random>; unsloth
    # Studio in .tmp-checkpoint-*.
    staging = (name_of(r"\.?tmp-checkpoint-.*"),)
    plain_optimizer = True
    rules = (
        *WEIGHTS,
        rule(r"optimizer\.(?:pt|bin)", Role.OPTIMIZER, Format.TORCH),
        rule(r"scheduler\.pt", Role.SCHEDULER, Format.TORCH),
        rule(r"scaler\.pt", Role.SCALER, Format.TORCH),
        rule(r"rng_state\.pth", Role.RNG, Format.TORCH),
        rule(r"rng_state_(?P<rank>\d{1,9})\.pth", Role.RNG, Format.TORCH),
        rule(r"training_args\.bin", Role.ARGUMENTS, Format.TORCH),
        rule(re.escape(TRAINER_STATE), Role.TRAINER_STATE, Format.JSON),
        rule(re.escape(INCOMPLETE_MARKER), Role.MARKER, Format.OPAQUE),
        # Engines put their own files into the same directory.
        *under(r"global_step\d+", deepspeed_rules()),
        rule(deepspeed.LATEST, Role.SHARD_METADATA, Format.TEXT),
        *FSDP,
        *ADAPTERS,
        *SIDE_FILES,
        # TRL 1.8 and later, with use_adaptive_entropy; written after the trainer state.
        rule(r"entropy_ctrl_state\.json", Role.EXTRA, Format.JSON),
        rule(r".+/.+", Role.OTHER, Format.OPAQUE),
    )

    def recognises(self, listing: Listing) -> bool:
        """Return whether the trainer state or any form of weights is there."""
        weights = {Role.WEIGHTS, Role.WEIGHTS_INDEX, Role.STATE}
        return TRAINER_STATE in listing or any(
            part.role in weights for part in self.parts(listing).values()
        )

    def completeness(self, listing: Listing, around: Around) -> Completeness:
        """Return whether weights in one of their forms, with every shard, and the state are there.

        The trainer state is the last file of rank 0, not of the job: other ranks' RNG files may
        land after it, which is why a checkpoint must be quiet as well.
        """
        saved = TRAINER_STATE in listing
        missing = [] if saved else [Missing(Role.TRAINER_STATE, TRAINER_STATE)]
        parts = self.parts(listing)
        engines = sorted({name[: name.index("/") + 1] for name in listing if _ENGINE.match(name)})
        for folder in engines:
            engine = deepspeed if folder.startswith("global_step") else dcp
            missing += engine.missing_in(folder, listing, around)
        if any(folder.startswith("global_step") for folder in engines):
            missing += deepspeed.missing_tag(listing, around)
        missing += missing_ranks({n: part for n, part in parts.items() if part.of in FSDP_SETS})
        if not any(folder.startswith(("global_step", "pytorch_model_fsdp")) for folder in engines):
            missing += missing_weights(parts, listing, around)
        marker = INCOMPLETE_MARKER if INCOMPLETE_MARKER in listing else None
        return Completeness(tuple(missing), saved and marker is None, marker)

    def stable_name(self, file: str) -> str:
        """Return a file's name without the number of DeepSpeed's tag."""
        return _DEEPSPEED.sub("global_step/", file)

    def recorded_steps(self, contents: Mapping[str, Content]) -> Iterator[tuple[str, int]]:
        """Yield the step of DeepSpeed's model states, as far from the trainer's as the tag is.

        A tag may be ahead of the trainer's step (transformers issue 12427).
        """
        state = contents[TRAINER_STATE].value if TRAINER_STATE in contents else None
        step = state.get("global_step") if isinstance(state, dict) else None
        for name, recorded in deepspeed.steps_in("global_step", contents):
            tag = int(name[len("global_step") : name.index("/")])
            if type(step) is int:
                yield name, step + recorded - tag


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
