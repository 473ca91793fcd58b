"""Checkpoints of the Hugging Face ``Trainer``: TRL, unsloth, axolotl, ms-swift and many more.

Source: transformers 5.23 ``trainer.py``: ``_save_checkpoint`` (the order of writes: weights,
tokenizer, training arguments, optimizer, scheduler, scaler, RNG, trainer state last) and
``_load_from_checkpoint`` (the forms of weights that it accepts). The names are those of 4.35 on.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from resume_daemon.layouts import deepspeed
from resume_daemon.layouts.base import (
    STEP,
    Completeness,
    Facts,
    Format,
    Layout,
    Missing,
    Role,
    name_of,
    rule,
    under,
)
from resume_daemon.layouts.deepspeed import deepspeed_rules
from resume_daemon.layouts.fsdp_plugin import FSDP, XLA_MODEL, holds_fsdp_model, missing_fsdp
from resume_daemon.layouts.published import unpublished
from resume_daemon.layouts.transformers_weights import (
    ADAPTERS,
    SIDE_FILES,
    WEIGHTS,
    missing_weights,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from resume_daemon.layouts.base import Around, Content
    from resume_daemon.listing import Listing

INCOMPLETE_MARKER = "checkpoint-is-incomplete.txt"
"""Present while the just-in-time save on SIGTERM runs (``trainer_jit_checkpoint.py``, 5.0+)."""

TRAINER_STATE = "trainer_state.json"

FLASH_TRACKER = "dlrover_latest.txt"
"""Names the newest checkpoint that DLRover has wholly written, in the background (ms-swift
``trainers/mixin.py``: get_last_checkpoint)."""

_DEEPSPEED = re.compile(r"^global_step\d+/")
_FULL_FSDP = "pytorch_model_fsdp.bin"


class HuggingFace(Layout):
    """``checkpoint-N`` in the output directory."""

    name = "huggingface"
    facts = Facts(
        written_by="transformers Trainer, and with it TRL, unsloth, axolotl, ms-swift and "
        "LLaMA-Factory v0, none of which needs a layout of its own for it",
        recognised="trainer_state.json, or weights in any form that the trainer loads",
        step="N of checkpoint-N, which is global_step of trainer_state.json",
        required="trainer_state.json; one of model.safetensors, pytorch_model.bin, an index with "
        "all of its shards, an adapter with its configuration, or what FSDP or DeepSpeed wrote",
        marker="none; trainer_state.json is the last file of rank 0, "
        "checkpoint-is-incomplete.txt says that a save on SIGTERM did not end, and "
        "dlrover_latest.txt beside it (ms-swift with DLRover) names the newest that is whole",
        staging="tmp-checkpoint-N (4.36 to 4.38), tmp-checkpoint-<random>, .tmp-checkpoint-*",
        ranks="rng_state_R.pth of each; how many there were is in training_args.bin",
        rotation="nothing: the whole directory goes",
        later="TRL's entropy_ctrl_state.json, whatever on_save callbacks write, other ranks' "
        "random states",
        source="transformers 5.23 trainer.py: _save_checkpoint, _load_from_checkpoint; runs with "
        "FSDP1 and FSDP2 on two ranks; ms-swift, axolotl and LLaMA-Factory of August 2026",
    )
    names = (name_of(rf"checkpoint-{STEP}"),)
    # 4.36-4.38 staged in tmp-checkpoint-N; main of January 2025 in tmp-checkpoint-<random>; unsloth
    # Studio in .tmp-checkpoint-*.
    staging = (name_of(r"\.?tmp-checkpoint-.*"),)
    plain_optimizer = True
    rules = (
        *WEIGHTS,
        rule(r"optimizer\.(?:pt|bin)", Role.OPTIMIZER, Format.TORCH),
        # SageMaker's model parallelism, in a form of its own.
        rule(r"optimizer\.pt_[^/]+", Role.OPTIMIZER, Format.OPAQUE),
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
        tags = sorted({match[0] for name in listing if (match := _DEEPSPEED.match(name))})
        # One that an earlier save of the same step left behind is not loaded.
        named = f"{deepspeed.named_tag(listing, around)}/" if tags else ""
        for tag in [named] if named in tags else tags:
            missing += deepspeed.missing_in(tag, listing, around)
        if tags:
            missing += deepspeed.missing_tag(listing, around)
        missing += missing_fsdp(parts, listing, around)
        if not tags and not holds_fsdp_model(listing):
            loadable = {name: part for name, part in parts.items() if part.of != XLA_MODEL}
            missing += missing_weights(loadable, listing, around)
            missing += _missing_full_fsdp(listing)
        marker = INCOMPLETE_MARKER if INCOMPLETE_MARKER in listing else None
        tracker = around.beside(FLASH_TRACKER)
        marker = marker or unpublished(listing, self.step_of(listing.name), tracker)
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


def _missing_full_fsdp(listing: Listing) -> Iterator[Missing]:
    """Yield the weights of FSDP that belong to its optimizer.

    The model beside them is for others to load: a resume asks for this file alone, and raises
    (measured on transformers 5.23). Only FSDP with FULL_STATE_DICT names the optimizer so; old
    versions of accelerate named its weights ``pytorch_model.bin``.
    """
    full = "optimizer.bin" in listing and "model.safetensors" in listing
    if full and "pytorch_model.bin" not in listing:
        yield Missing(Role.WEIGHTS, f"{_FULL_FSDP} (of FSDP, as optimizer.bin is)")


def is_deepspeed(listing: Listing) -> bool:
    """Return whether the DeepSpeed engine saved weights and optimizer into ``global_step*/``."""
    return any(_DEEPSPEED.match(name) for name in listing)
