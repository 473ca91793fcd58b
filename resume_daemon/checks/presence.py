"""Is every part of the training state there? What is lost where one is not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resume_daemon.findings import Code, Finding, Severity
from resume_daemon.layouts.base import Format, Role
from resume_daemon.listing import EntryKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from resume_daemon.evidence import Evidence
    from resume_daemon.layouts.base import Missing

MEASURED = "measured on transformers 5.23 with TRL 1.16: the trainer resumes without a word"

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
    MEASURED,
)
SCHEDULER_MISSING = Code(
    "RD105",
    "scheduler-missing",
    Severity.WARNING,
    "The learning rate schedule's state is missing",
    "The learning rate would start from the beginning of its schedule, warm-up included.",
    "Resume from a checkpoint that has it.",
    MEASURED,
)
RNG_MISSING = Code(
    "RD106",
    "random-state-missing",
    Severity.WARNING,
    "The random state is missing",
    "Sampling, dropout and data order would differ from an uninterrupted run.",
    "Resume from a checkpoint that has it, or accept that the run is not reproducible.",
    MEASURED,
)
ARGUMENTS_MISSING = Code(
    "RD107",
    "arguments-missing",
    Severity.WARNING,
    "training_args.bin is missing",
    "The record of what this run was trained with is lost: a parameter that the launch script now "
    "sets differently cannot be noticed.",
    "Compare the launch script with the snapshot of an earlier checkpoint before you resume.",
    MEASURED,
)
CONFIGURATION_MISSING = Code(
    "RD108",
    "configuration-missing",
    Severity.WARNING,
    "config.json is missing",
    "The trainer resumes with the configuration of the model that the script builds, whatever the "
    "weights were saved with; loading the checkpoint as a model fails.",
    "Copy config.json from an earlier checkpoint of the same run.",
    MEASURED,
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
PART_MISSING = Code(
    "RD116",
    "required-part-missing",
    Severity.ERROR,
    "A part that a resume needs is missing",
    "The trainer ended the save, or seems to have, but a rank's file, the metadata of the shards "
    "or another part without which nothing can be loaded is not there.",
    "Resume from an earlier checkpoint; look for the missing files before you delete this one. "
    "Where each node saves to a disk of its own, look there.",
)
DATA_POSITION_MISSING = Code(
    "RD117",
    "data-position-missing",
    Severity.WARNING,
    "The position in the data is missing",
    "The state of the data loader is not there: the trainer would start its data again, and see "
    "the same samples twice.",
    "Resume from a checkpoint that has it.",
    "verl trainer/ppo/ray_trainer.py: _load_checkpoint warns and goes on",
)
PART_LOST = Code(
    "RD118",
    "part-missing",
    Severity.WARNING,
    "A part of the training state is missing",
    "The trainer resumes without it, and something that it held starts again.",
    "Resume from a checkpoint that has it.",
)
ROTATED_STUB = Code(
    "RD131",
    "rotated-stub",
    Severity.INFO,
    "The trainer removed this checkpoint and left a part of it",
    "Rotation of some trainers removes the models and leaves small files behind. There is nothing "
    "to resume from, and nothing is damaged.",
    "Nothing to do; the directory may be removed.",
    "verl utils/checkpoint/checkpoint_manager.py: remove_previous_save_local_path",
)
SAVED_WITHOUT_OPTIMIZER = Code(
    "RD115",
    "model-only",
    Severity.INFO,
    "The checkpoint holds the model only, as asked",
    "The trainer saved no optimizer, schedule and random state: it was told so (save_only_model, "
    "save_weights_only), or this is what it leaves when its training has ended. The weights are "
    "whole; training cannot be continued exactly, and some trainers raise where it is tried.",
    "Resume from the checkpoint before it, and unset that option if you mean to resume.",
    "transformers training_args.py: save_only_model; lightning model_checkpoint.py; torchtitan "
    "components/checkpointer/base.py: last_save_model_only; torchtune: intermediate_checkpoint",
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
    "They belong to an engine (FSDP, DeepSpeed) whose structure this layout does not judge, or "
    "hold more than is looked through, so that what loading them would run is not known.",
    "Nothing to do; a resume is the only test of them.",
)

_SHOWN = 8

_REQUIRED = {
    Role.WEIGHTS: WEIGHTS_MISSING,
    Role.WEIGHTS_INDEX: WEIGHTS_MISSING,
    Role.TRAINER_STATE: TRAINER_STATE_MISSING,
}
_LOST = {
    Role.OPTIMIZER: OPTIMIZER_MISSING,
    Role.SCHEDULER: SCHEDULER_MISSING,
    Role.RNG: RNG_MISSING,
    Role.DATA: DATA_POSITION_MISSING,
    Role.ARGUMENTS: ARGUMENTS_MISSING,
    Role.CONFIGURATION: CONFIGURATION_MISSING,
}


def check(evidence: Evidence) -> Iterator[Finding]:
    """Yield a finding for each part that is missing or cannot be read by design."""
    state = evidence.completeness
    if state.marker is not None:
        file = state.marker if state.marker in evidence.listing else None
        still = "is still there" if file else ""
        yield MARKED_INCOMPLETE.finding(f"{state.marker} {still}".rstrip(), file=file)
    if state.stub is not None:
        yield ROTATED_STUB.finding(state.stub)
    if state.model_only is not None:
        yield SAVED_WITHOUT_OPTIMIZER.finding(state.model_only)
    yield from _missing(state.missing, _REQUIRED, PART_MISSING)
    yield from _missing(state.lost, _LOST, PART_LOST)
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


def _missing(
    missing: Iterable[Missing], codes: dict[Role, Code], otherwise: Code
) -> Iterator[Finding]:
    """Yield a finding for each thing that is missing, up to a readable number of each code."""
    by_code: dict[Code, list[Missing]] = {}
    for each in missing:
        by_code.setdefault(codes.get(each.role, otherwise), []).append(each)
    for code, found in by_code.items():
        for each in found[:_SHOWN]:
            words = f"{each.what} is missing" if each.what == each.file else f"missing: {each.what}"
            yield code.finding(words, file=each.file)
        if len(found) > _SHOWN:
            yield code.finding(f"missing: {len(found) - _SHOWN} more files")
