"""Is every part of the training state there? What is lost where one is not."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from resume_daemon.findings import Code, Finding, Severity
from resume_daemon.layouts.base import Format, Role
from resume_daemon.layouts.huggingface import TRAINER_STATE, is_deepspeed, unpaired_adapters
from resume_daemon.listing import EntryKind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resume_daemon.evidence import Evidence

_MEASURED = "measured on transformers 5.23 with TRL 1.16: the trainer resumes without a word"

WEIGHTS_MISSING = Code(
    "RD101",
    "weights-missing",
    Severity.ERROR,
    "The weights are missing",
    "The trainer ended the save, or seems to have, but the weights (or some of their shards) are "
    "not there. There is nothing to resume from.",
    "Resume from an earlier checkpoint; look for the missing files before you delete this one.",
    "transformers 5.23 trainer.py: _load_from_checkpoint raises",
)
TRAINER_STATE_MISSING = Code(
    "RD102",
    "trainer-state-missing",
    Severity.ERROR,
    "trainer_state.json is missing",
    "The trainer writes it last, so its absence means that the save never finished. On resume the "
    "trainer raises FileNotFoundError.",
    "Resume from an earlier checkpoint.",
    "transformers issues 35525, 35782: an incomplete last checkpoint stops every resume",
)
MARKED_INCOMPLETE = Code(
    "RD103",
    "marked-incomplete",
    Severity.ERROR,
    "The trainer marked this checkpoint as incomplete",
    "checkpoint-is-incomplete.txt is written before a save on SIGTERM and removed after it. It is "
    "still there, so the save was cut off. The trainer itself never looks at it on resume.",
    "Resume from an earlier checkpoint.",
    "transformers 5.x trainer_jit_checkpoint.py",
)
OPTIMIZER_MISSING = Code(
    "RD104",
    "optimizer-missing",
    Severity.WARNING,
    "The optimizer state is missing",
    "Training would resume with an empty optimizer: momentum and variance estimates start again, "
    "and the loss usually jumps for hundreds of steps.",
    "Resume from a checkpoint that has it, unless a fresh optimizer is what you want.",
    _MEASURED,
)
SCHEDULER_MISSING = Code(
    "RD105",
    "scheduler-missing",
    Severity.WARNING,
    "The learning rate schedule's state is missing",
    "The learning rate would start from the beginning of its schedule, warm-up included.",
    "Resume from a checkpoint that has it.",
    _MEASURED,
)
RNG_MISSING = Code(
    "RD106",
    "random-state-missing",
    Severity.WARNING,
    "The random state is missing",
    "Sampling, dropout and data order would differ from an uninterrupted run.",
    "Resume from a checkpoint that has it, or accept that the run is not reproducible.",
    _MEASURED,
)
ARGUMENTS_MISSING = Code(
    "RD107",
    "arguments-missing",
    Severity.WARNING,
    "training_args.bin is missing",
    "The record of what this run was trained with is lost: a parameter that the launch script now "
    "sets differently cannot be noticed.",
    "Compare the launch script with the snapshot of an earlier checkpoint before you resume.",
    _MEASURED,
)
CONFIGURATION_MISSING = Code(
    "RD108",
    "configuration-missing",
    Severity.WARNING,
    "config.json is missing",
    "The trainer resumes with the configuration of the model that the script builds, whatever the "
    "weights were saved with; loading the checkpoint as a model fails.",
    "Copy config.json from an earlier checkpoint of the same run.",
    _MEASURED,
)
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
    _MEASURED,
)
RNG_RANKS = Code(
    "RD111",
    "random-state-ranks",
    Severity.WARNING,
    "Some ranks' random states are missing",
    "Each rank writes its own rng_state_<rank>.pth, without a barrier. The ranks without one would "
    "resume with a fresh random state. Where every node saves to a disk of its own, the ranks of "
    "other nodes are missing here and present there.",
    "Resume from a checkpoint that has them all.",
    "transformers 5.23 trainer.py: _save_rng_state",
)
NOT_FOLLOWED = Code(
    "RD112",
    "link-not-followed",
    Severity.WARNING,
    "A symbolic link leads out of the run directory",
    "It was not followed, so what it points to is not verified.",
    "Verify the target by hand, or keep the file inside the run directory.",
)
SPECIAL_FILE = Code(
    "RD113",
    "special-file",
    Severity.ERROR,
    "Something is not a regular file",
    "A FIFO, socket, device, or a link that is broken or leads to a directory, stands where a file "
    "is expected. It was not opened.",
    "Find out who made it; resume from an earlier checkpoint.",
)
NOT_LOOKED_INTO = Code(
    "RD114",
    "not-looked-into",
    Severity.INFO,
    "Some files were digested but not judged",
    "They belong to an engine (FSDP, DeepSpeed) whose structure this layout does not judge.",
    "Nothing to do; a resume is the only test of them.",
)
SAVED_WITHOUT_OPTIMIZER = Code(
    "RD115",
    "model-only",
    Severity.INFO,
    "The checkpoint holds the model only, as asked",
    "save_only_model is set, so optimizer, schedule and random state are not saved. The weights "
    "are whole; training cannot be continued exactly.",
    "Unset save_only_model if you mean to resume.",
    "transformers training_args.py: save_only_model",
)

_SHOWN = 8
_MOST_PROCESSES = 1_000_000


def check(evidence: Evidence) -> Iterator[Finding]:
    """Yield a finding for each part that is missing or cannot be read by design."""
    yield from _required(evidence)
    yield from _optional(evidence)
    yield from _ranks(evidence)
    for entry in evidence.listing.entries.values():
        if entry.kind is EntryKind.OUTSIDE:
            yield NOT_FOLLOWED.finding(
                f"{entry.name} is a link out of the run directory and was not followed",
                file=entry.name,
            )
        elif entry.kind is EntryKind.SPECIAL:
            severity = Severity.INFO if evidence.parts[entry.name].role is Role.OTHER else None
            yield SPECIAL_FILE.finding(
                f"{entry.name} is a FIFO, socket, device, or a link to no file",
                file=entry.name,
                severity=severity,
            )
    foreign = [
        name
        for role in (Role.WEIGHTS, Role.OPTIMIZER)
        for name in evidence.files(role)
        if evidence.parts[name].format is Format.OPAQUE
    ]
    if foreign:
        yield NOT_LOOKED_INTO.finding(f"{len(foreign)} files such as {foreign[0]} were not judged")


def _required(evidence: Evidence) -> Iterator[Finding]:
    state = evidence.completeness
    if state.marker is not None:
        yield MARKED_INCOMPLETE.finding(f"{state.marker} is still there", file=state.marker)
    weights = [missing for missing in state.missing if missing != TRAINER_STATE]
    if len(weights) < len(state.missing):
        yield TRAINER_STATE_MISSING.finding(f"{TRAINER_STATE} is missing", file=TRAINER_STATE)
    for missing in weights[:_SHOWN]:
        name = missing.partition(" ")[0]
        yield WEIGHTS_MISSING.finding(f"missing: {missing}", file=name if "." in name else None)
    if len(weights) > _SHOWN:
        yield WEIGHTS_MISSING.finding(f"missing: {len(weights) - _SHOWN} more files")


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
        (Role.OPTIMIZER, OPTIMIZER_MISSING, "optimizer.pt", is_deepspeed(evidence.listing)),
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


def _sharded_by_fsdp(evidence: Evidence) -> bool:
    # Such a save writes no configuration, arguments or tokenizer (transformers trainer.py:
    # save_model calls _save for FULL_STATE_DICT alone); DeepSpeed's does.
    return any(
        evidence.parts[name].format is Format.OPAQUE and name.startswith("pytorch_model_fsdp")
        for name in evidence.files(Role.WEIGHTS)
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
    # Other files come and go with versions (5.x writes no merges.txt); this one stays.
    if before is not None and "tokenizer.json" in earlier.difference(vocabulary):
        return f"tokenizer.json is missing, and {before.checkpoint} has one"
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
