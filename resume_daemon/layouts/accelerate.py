"""Checkpoints of accelerate's ``save_state``: ``checkpoint_N``, or whatever directory is given.

Source: accelerate 1.15 ``accelerator.py: save_state``, ``checkpointing.py: save_accelerator_state``
(the order of writes: models, optimizers, schedulers, samplers, scaler, random states, custom
objects) and ``load_accelerator_state``, which passes over a random state that it cannot load (issue
4283). ``step`` in a random state counts gradient accumulation, and stays 0 without it (measured).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from resume_daemon.layouts import deepspeed
from resume_daemon.layouts.base import (
    RANK,
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
from resume_daemon.layouts.fsdp_plugin import FSDP, holds_fsdp_model, missing_fsdp
from resume_daemon.layouts.ranks import missing_ranks
from resume_daemon.layouts.transformers_weights import ADAPTERS, WEIGHTS, missing_weights

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from resume_daemon.layouts.base import Around, Content
    from resume_daemon.listing import Listing

_FIRST_RANDOM = "random_states_0.pkl"
_DEEPSPEED = "pytorch_model"
"""The tag that accelerate gives the engine."""


class Accelerate(Layout):
    """``checkpoint_N`` below ``checkpoints/`` of the project directory."""

    name = "accelerate"
    facts = Facts(
        written_by="accelerate's Accelerator.save_state, in scripts and trainers of many kinds",
        recognised="random_states_R.pkl, or a scheduler or sampler as .bin beside weights",
        step="no file tells it; N of checkpoint_N counts saves",
        required="the weights of the first model in one form, or what FSDP or DeepSpeed write",
        marker="none; custom_checkpoint_i.pkl, or else the random states, are written last",
        staging="none",
        ranks="random_states_R.pkl of each; how many there were is not recorded",
        rotation="nothing; the oldest goes before the new one is saved",
        later="nothing",
        source="accelerate 1.15 checkpointing.py: save_accelerator_state, load_accelerator_state",
    )
    names = (name_of(rf"checkpoint_{STEP}"),)
    distinctive = False
    number_is_step = False
    rules = (
        *WEIGHTS,
        rule(r"model_\d+\.safetensors", Role.WEIGHTS, Format.SAFETENSORS),
        rule(r"pytorch_model_\d+\.bin", Role.WEIGHTS, Format.TORCH),
        rule(r"optimizer(?:_\d+)?\.bin", Role.OPTIMIZER, Format.TORCH),
        rule(r"scheduler(?:_\d+)?\.bin", Role.SCHEDULER, Format.TORCH),
        rule(r"(?:sampler|dl_state_dict)(?:_\d+)?\.bin", Role.DATA, Format.TORCH),
        rule(r"scaler\.pt", Role.SCALER, Format.TORCH),
        rule(rf"random_states_{RANK}\.pkl", Role.RNG, Format.TORCH, of="random states"),
        rule(r"custom_checkpoint_\d+\.pkl", Role.EXTRA, Format.TORCH),
        *under(_DEEPSPEED, deepspeed.deepspeed_rules()),
        *FSDP,
        *ADAPTERS,
    )

    def recognises(self, listing: Listing) -> bool:
        """Return whether random states, or other states as accelerate names them, are there."""
        roles = {self.part_of(name).role for name in listing}
        named = any(
            name.startswith(("random_states_", "scheduler", "sampler", "dl_state_dict"))
            and name.endswith((".pkl", ".bin"))
            for name in listing
        )
        return named and bool(roles & {Role.WEIGHTS, Role.STATE, Role.RNG, Role.OPTIMIZER})

    def completeness(self, listing: Listing, around: Around) -> Completeness:
        """Return whether the weights are there, and what of the rest is lost."""
        parts = self.parts(listing)
        folders = {name[: name.index("/") + 1] for name in listing if "/" in name}
        missing = list(missing_fsdp(parts, listing, around))
        if f"{_DEEPSPEED}/" in folders:
            missing += deepspeed.missing_in(f"{_DEEPSPEED}/", listing, around)
        elif not holds_fsdp_model(listing):
            missing += missing_weights(parts, listing, around)
        lost = list(missing_ranks({n: part for n, part in parts.items() if part.role is Role.RNG}))
        if not any(part.role is Role.RNG for part in parts.values()):
            lost.append(Missing(Role.RNG, _FIRST_RANDOM))
        kept = any(part.role in {Role.OPTIMIZER, Role.STATE} for part in parts.values())
        if not kept:
            lost.append(Missing(Role.OPTIMIZER, "optimizer.bin"))
        return Completeness(tuple(missing), saved=_FIRST_RANDOM in listing, lost=tuple(lost))

    def recorded_steps(self, contents: Mapping[str, Content]) -> Iterator[tuple[str, int]]:
        """Yield the counter in each rank's random state, which is the same in all of them."""
        for name, content in contents.items():
            if name.startswith("random_states_") and isinstance(content.value, dict):
                step = content.value.get("step")
                if type(step) is int:
                    yield name, step
