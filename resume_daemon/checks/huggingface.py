"""What a Hugging Face trainer's checkpoint holds besides weights and state, and what it lost."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from resume_daemon.checks.presence import (
    ARGUMENTS_MISSING,
    CONFIGURATION_MISSING,
    MEASURED,
    OPTIMIZER_MISSING,
    RNG_MISSING,
    RNG_RANKS,
    SAVED_WITHOUT_OPTIMIZER,
    SCHEDULER_MISSING,
)
from resume_daemon.findings import Code, Finding, Severity
from resume_daemon.layouts.base import Role
from resume_daemon.layouts.fsdp_plugin import holds_fsdp_model, is_local
from resume_daemon.layouts.huggingface import HuggingFace, is_deepspeed
from resume_daemon.layouts.transformers_weights import unpaired_adapters

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resume_daemon.evidence import Evidence

ADAPTER_CONFIGURATION_MISSING = Code(
    "RD109",
    "adapter-configuration-missing",
    Severity.ERROR,
    "adapter_config.json is missing beside the adapter's weights",
    "Rank, targets and base model of the adapter are unknown; peft cannot load it.",
    "Copy adapter_config.json from an earlier checkpoint of the same run.",
    "peft peft_model.py: from_pretrained",
)
TOKENIZER_MISSING = Code(
    "RD110",
    "tokenizer-missing",
    Severity.WARNING,
    "The tokenizer is missing",
    "The checkpoint cannot be used on its own, and added tokens or a changed chat template are "
    "lost unless the base model has the same.",
    "Copy the tokenizer's files from an earlier checkpoint of the same run.",
    MEASURED,
)
LOCAL_SHARDS = Code(
    "RD119",
    "local-shards",
    Severity.ERROR,
    "The trainer cannot load the form that it saved the weights in",
    "With FSDP and LOCAL_STATE_DICT each rank saves a file of its own, "
    "pytorch_model_fsdp_rank<R>.bin. On resume the trainer looks for a directory or for one whole "
    'file, finds neither, and raises "Can\'t find a valid checkpoint".',
    "Set state_dict_type to SHARDED_STATE_DICT or FULL_STATE_DICT. What was saved can be loaded in "
    "a script of your own: accelerate's load_fsdp_model reads it, on as many ranks.",
    "measured on transformers 5.23 with accelerate 1.15: a healthy checkpoint, the trainer raises",
)
_SHOWN = 8
_MOST_PROCESSES = 1_000_000


def check(evidence: Evidence) -> Iterator[Finding]:
    """Yield a finding for each optional part that is missing from a trainer's checkpoint."""
    if evidence.layout == HuggingFace.name:
        weights = evidence.files(Role.WEIGHTS)
        if weights and all(map(is_local, weights)):
            yield LOCAL_SHARDS.finding(
                f"{weights[0]} and others were saved with LOCAL_STATE_DICT", file=weights[0]
            )
        yield from _optional(evidence)
        yield from _ranks(evidence)


def _optional(evidence: Evidence) -> Iterator[Finding]:
    _, unexplained = unpaired_adapters(evidence.listing)
    for name in unexplained:
        yield ADAPTER_CONFIGURATION_MISSING.finding(
            f"adapter_config.json is missing beside {name}", file=name
        )
    adapter = bool(unexplained) or evidence.has(Role.ADAPTER_CONFIGURATION)
    if not adapter and not (evidence.has(Role.CONFIGURATION) or _sharded_by_fsdp(evidence)):
        yield CONFIGURATION_MISSING.finding("config.json is missing", file="config.json")
    later = (
        (Role.OPTIMIZER, OPTIMIZER_MISSING, _optimizer(evidence), is_deepspeed(evidence.listing)),
        (Role.SCHEDULER, SCHEDULER_MISSING, "scheduler.pt", is_deepspeed(evidence.listing)),
        (Role.RNG, RNG_MISSING, "rng_state.pth", False),
    )
    absent = [each for each in later if not evidence.has(each[0]) and not each[3]]
    if len(absent) == len(later) and evidence.argument("save_only_model") is True:
        yield SAVED_WITHOUT_OPTIMIZER.finding("save_only_model is set: only the model was saved")
    else:
        for _, code, name, _ in absent:
            yield code.finding(f"{name} is missing", file=name)
    if not evidence.has(Role.ARGUMENTS) and not _sharded_by_fsdp(evidence):
        yield ARGUMENTS_MISSING.finding("training_args.bin is missing", file="training_args.bin")
    if (reason := _tokenizer_lost(evidence)) is not None:
        yield TOKENIZER_MISSING.finding(reason)


def _optimizer(evidence: Evidence) -> str:
    """Return what the optimizer's file or directory would be called."""
    if _sharded_by_fsdp(evidence):
        return "optimizer_0"
    return "optimizer.bin" if holds_fsdp_model(evidence.listing) else "optimizer.pt"


def _sharded_by_fsdp(evidence: Evidence) -> bool:
    # Such a save writes no configuration, arguments or tokenizer (transformers trainer.py:
    # save_model calls _save for FULL_STATE_DICT alone); DeepSpeed's does.
    return any(
        name.startswith(("pytorch_model_fsdp", "optimizer_0")) and name != "pytorch_model_fsdp.bin"
        for name in evidence.listing
    )


_TOKENIZER_REMNANTS = (
    "tokenizer_config.json",
    "added_tokens.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "merges.txt",
)


def _tokenizer_lost(evidence: Evidence) -> str | None:
    """Return what shows that a tokenizer is lost, or None: a run may well have none."""
    vocabulary = [n for n in evidence.files(Role.TOKENIZER) if n != "tokenizer_config.json"]
    before = evidence.previous
    earlier = {file.name for file in before.files} if before is not None else set()
    # Other files come and go with versions (5.x writes no merges.txt); these stay.
    for name in ("tokenizer.json", "tokenizer_config.json"):
        if before is not None and name in earlier and name not in evidence.listing:
            return f"{name} is missing, and {before.checkpoint} has one"
    if vocabulary:
        return None
    for name in _TOKENIZER_REMNANTS:
        if name in evidence.listing:
            return f"no tokenizer file is there, but {name} is"
    if before is not None and "tokenizer.model" in earlier:
        return f"no tokenizer file is there, but {before.checkpoint} has one"
    return None


def _ranks(evidence: Evidence) -> Iterator[Finding]:
    files = evidence.files(Role.RNG)
    present = {rank for name in files if (rank := evidence.parts[name].rank) is not None}
    expected = _processes(evidence)
    if expected is None:
        before = evidence.previous.files if evidence.previous is not None and present else ()
        expected = max(
            max(present, default=-1) + 1, sum(f.name.startswith("rng_state_") for f in before)
        )
    elif expected == 1 or not files:
        return
    count = expected - sum(rank < expected for rank in present)
    if count:
        absent = (rank for rank in range(expected) if rank not in present)
        listed = ", ".join(f"rng_state_{rank}.pth" for rank in islice(absent, _SHOWN))
        yield RNG_RANKS.finding(
            f"{count} of {expected} ranks' random states are missing: {listed}"
            + (", ..." if count > _SHOWN else "")
        )


def _processes(evidence: Evidence) -> int | None:
    """Return how many processes trained; None where the arguments do not tell.

    They hold accelerate's ``PartialState`` (accelerate ``state.py``; measured with 1.15), so that a
    run that is resumed on fewer devices is not taken for one that lost ranks.
    """
    state = getattr(evidence.argument("distributed_state"), "state", None)
    number = state.get("num_processes") if isinstance(state, dict) else None
    return number if type(number) is int and 0 < number < _MOST_PROCESSES else None
