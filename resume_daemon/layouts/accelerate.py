"""Checkpoints of accelerate's ``save_state``: ``checkpoint_N``, or whatever directory is given.

Source: accelerate 1.15 ``accelerator.py: save_state``, ``checkpointing.py: save_accelerator_state``
(the order of writes: models, optimizers, schedulers, samplers, scaler, random states, custom
objects) and ``load_accelerator_state``. That one raises where a file is missing that it was
prepared for, and passes over a random state that it cannot load (issue 4283). ``step`` in a random
state counts gradient accumulation, and stays 0 without it (measured).

Hooks of the script may save models themselves and keep accelerate from it, as those of diffusers
do: a folder for each model, named by the script.
"""

from __future__ import annotations

import re
from collections import defaultdict
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
from resume_daemon.layouts.fsdp_plugin import FSDP, missing_fsdp
from resume_daemon.layouts.ranks import missing_ranks
from resume_daemon.layouts.transformers_weights import ADAPTERS, WEIGHTS, missing_shards

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from resume_daemon.layouts.base import Around, Content, Part
    from resume_daemon.listing import Listing

_FIRST_RANDOM = "random_states_0.pkl"
_TRAINER_STATE = "trainer_state.json"
_OWN = re.compile(
    r"(?:random_states|scheduler|sampler|dl_state_dict)(?:_\d+)?\.(?:pkl|bin)", re.ASCII
)
_TAG = re.compile(r"pytorch_model(?:_\d+)?/", re.ASCII)
"""The tags that accelerate gives the DeepSpeed engine."""
_FOREIGN = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".msgpack", ".npz")
"""Endings of what a hook, or Megatron-LM in a folder of its own, may save a model as."""

_NUMBERED = re.compile(r"(?P<kind>[a-z_]+?)(?:_(?P<number>\d+))?(?P<suffix>\.[a-z]+)", re.ASCII)
_COUNTED = {
    "model": Role.WEIGHTS,
    "pytorch_model": Role.WEIGHTS,
    "optimizer": Role.OPTIMIZER,
    "scheduler": Role.SCHEDULER,
    "custom_checkpoint": Role.EXTRA,
}
"""What is numbered without a gap; of most kinds the first goes without its number."""
_MOST_COUNTED = 64


class Accelerate(Layout):
    """``checkpoint_N`` below ``checkpoints/`` of the project directory, or a script's own name."""

    name = "accelerate"
    facts = Facts(
        written_by="accelerate's Accelerator.save_state, in scripts and trainers of many kinds: "
        "those of diffusers, transformers' run_*_no_trainer.py, ...",
        recognised="random_states_R.pkl, or a scheduler or sampler as .bin beside weights, and no "
        "trainer_state.json",
        step="no file tells it; N of checkpoint_N counts saves",
        required="the weights of every model in one form, or what FSDP, DeepSpeed or a hook write; "
        "an optimizer where there is a scheduler; no gap in model_i, optimizer_i, scheduler_i and "
        "custom_checkpoint_i",
        marker="none; custom_checkpoint_i.pkl, or else the random states, are written last",
        staging="none",
        ranks="random_states_R.pkl of each; how many there were is not recorded",
        rotation="nothing; the oldest goes before the new one is saved",
        later="nothing",
        source="accelerate 1.15 checkpointing.py: save_accelerator_state, load_accelerator_state; "
        "runs on one and two ranks",
    )
    names = (
        name_of(rf"checkpoint_{STEP}"),
        name_of(rf"checkpoint-{STEP}"),
        name_of(rf"(?:step|epoch)_{STEP}"),
    )
    distinctive = False
    number_is_step = False
    rules = (
        *WEIGHTS,
        rule(r"model_\d+\.safetensors", Role.WEIGHTS, Format.SAFETENSORS, needed=True),
        rule(r"pytorch_model_\d+\.bin", Role.WEIGHTS, Format.TORCH, needed=True),
        rule(r"optimizer(?:_\d+)?\.bin", Role.OPTIMIZER, Format.TORCH, needed=True),
        rule(r"scheduler(?:_\d+)?\.bin", Role.SCHEDULER, Format.TORCH, needed=True),
        rule(r"sampler(?:_\d+)?\.bin", Role.DATA, Format.TORCH, needed=True),
        rule(r"dl_state_dict(?:_\d+)?\.bin", Role.DATA, Format.TORCH),
        rule(r"scaler\.pt", Role.SCALER, Format.TORCH, needed=True),
        rule(rf"random_states_{RANK}\.pkl", Role.RNG, Format.TORCH, of="random states"),
        rule(r"custom_checkpoint_\d+\.pkl", Role.EXTRA, Format.TORCH, needed=True),
        *under(r"pytorch_model(?:_\d+)?", deepspeed.deepspeed_rules()),
        *FSDP,
        *ADAPTERS,
        rule(r"(?:.+/)?[^/]+\.safetensors", Role.WEIGHTS, Format.SAFETENSORS),
        rule(r"(?:.+/)?[^/]+\.safetensors\.index\.json", Role.WEIGHTS_INDEX, Format.JSON),
    )
    beats = ("huggingface",)

    def recognises(self, listing: Listing) -> bool:
        """Return whether random states, or other states as accelerate names them, are there."""
        if _TRAINER_STATE in listing or not any(map(_OWN.fullmatch, listing)):
            return False
        roles = {self.part_of(name).role for name in listing}
        return bool(roles & {Role.WEIGHTS, Role.STATE, Role.RNG, Role.OPTIMIZER})

    def completeness(self, listing: Listing, around: Around) -> Completeness:
        """Return whether models and optimizers are there, and what of the rest is lost."""
        parts = self.parts(listing)
        roles = {part.role for part in parts.values()}
        missing = [*missing_fsdp(parts, listing, around), *_gaps(listing)]
        for tag in sorted({match[0] for name in listing if (match := _TAG.match(name))}):
            missing += deepspeed.missing_in(tag, listing, around)
        for index in (n for n, part in parts.items() if part.role is Role.WEIGHTS_INDEX):
            missing += missing_shards(index, listing, around)
        if not roles & {Role.WEIGHTS, Role.WEIGHTS_INDEX, Role.STATE} and not _foreign(parts):
            missing.append(Missing(Role.WEIGHTS, "model.safetensors (or pytorch_model.bin)"))
        lost = list(missing_ranks({n: part for n, part in parts.items() if part.role is Role.RNG}))
        if Role.RNG not in roles:
            lost.append(Missing(Role.RNG, _FIRST_RANDOM))
        if not roles & {Role.OPTIMIZER, Role.STATE}:
            # A schedule is one of an optimizer, which is asked for by its name.
            found = missing if Role.SCHEDULER in roles and not _foreign(parts) else lost
            found.append(Missing(Role.OPTIMIZER, "optimizer.bin"))
        return Completeness(tuple(missing), saved=_FIRST_RANDOM in listing, lost=tuple(lost))

    def recorded_steps(self, contents: Mapping[str, Content]) -> Iterator[tuple[str, int]]:
        """Yield the counter in each rank's random state, which is the same in all of them."""
        for name, content in contents.items():
            if name.startswith("random_states_") and isinstance(content.value, dict):
                step = content.value.get("step")
                if type(step) is int:
                    yield name, step


def _gaps(listing: Listing) -> Iterator[Missing]:
    """Yield what is missing before the last of its kind."""
    numbers: defaultdict[tuple[str, str], set[int]] = defaultdict(set)
    for name in listing:
        match = _NUMBERED.fullmatch(name)
        if match and match["kind"] in _COUNTED:
            numbers[match["kind"], match["suffix"]].add(int(match["number"] or 0))
    for (kind, suffix), found in numbers.items():
        for number in range(min(max(found), _MOST_COUNTED)):
            if number not in found:
                counted = f"_{number}" if number or kind == "custom_checkpoint" else ""
                yield Missing(_COUNTED[kind], f"{kind}{counted}{suffix}")


def _foreign(parts: Mapping[str, Part]) -> bool:
    """Return whether there is a file that may hold a model in a form of somebody's own."""
    return any(part.role is Role.OTHER and n.endswith(_FOREIGN) for n, part in parts.items())
