"""Checkpoints of open-instruct's supervised fine-tuning and DPO: accelerate's, marked when whole.

Source: open-instruct of August 2026 ``finetune.py``, ``dpo_tune_cache.py`` (``save_state``, then
``COMPLETED``) and ``utils.py: get_last_checkpoint`` (unmarked directories are passed over);
accelerate 1.15 ``checkpointing.py``: ``save_accelerator_state``, ``load_accelerator_state``.
Its GRPO saves with DeepSpeed alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

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
from resume_daemon.layouts.dcp import dcp_rules, missing_in
from resume_daemon.layouts.ranks import missing_ranks, world_size
from resume_daemon.layouts.transformers_weights import WEIGHTS, missing_weights

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resume_daemon.layouts.base import Around
    from resume_daemon.listing import Listing

COMPLETED: Final = "COMPLETED"

_ENGINE: Final = "pytorch_model/"
_FSDP: Final = "pytorch_model_fsdp_0/"

_DEEPSPEED = (
    rule(
        rf"(?:zero_pp_rank_{RANK}_)?mp_rank_\d+_model_states\.pt",
        Role.STATE,
        Format.TORCH,
        of="model states",
        inside=(("module.", Role.WEIGHTS),),
    ),
    rule(
        rf"(?:bf16_|fp16_)?zero_pp_rank_{RANK}_mp_rank_\d+_optim_states\.pt",
        Role.OPTIMIZER,
        Format.TORCH,
        of="optimizer states",
    ),
)


class OpenInstruct(Layout):
    """``step_N`` with the files of ``accelerator.save_state`` and ``COMPLETED``."""

    name = "open-instruct"
    facts = Facts(
        written_by="open-instruct, for supervised fine-tuning and DPO",
        recognised="COMPLETED beside weights or random_states_R.pkl",
        step="N of step_N, in optimizer steps; epoch_N counts epochs",
        required="COMPLETED; the weights as safetensors, FSDP's DCP or DeepSpeed's pytorch_model; "
        "optimizer.bin and scheduler.bin, except where DeepSpeed holds them",
        marker="COMPLETED, which every process writes when its own part is there; directories "
        "without it are passed over",
        staging="none",
        ranks="random_states_R.pkl, and DeepSpeed's zero_pp_rank_R, of every rank",
        rotation="nothing: the whole directory goes",
        later="other ranks' random states may come after COMPLETED",
        source="open-instruct open_instruct/finetune.py, open_instruct/utils.py: "
        "get_last_checkpoint; accelerate checkpointing.py",
    )
    names = (name_of(rf"step_{STEP}"),)
    distinctive = False
    rules = (
        *WEIGHTS,
        *under("pytorch_model_fsdp_0", dcp_rules(Role.WEIGHTS)),
        *under("optimizer_0", dcp_rules(Role.OPTIMIZER)),
        *under("pytorch_model", _DEEPSPEED),
        rule(r"optimizer\.bin", Role.OPTIMIZER, Format.TORCH),
        # accelerate makes as many steps of the schedule as there are processes: a count of its own.
        rule(r"scheduler\.bin", Role.SCHEDULER, Format.TORCH),
        rule(r"scaler\.pt", Role.SCALER, Format.TORCH),
        rule(r"(?:sampler|dl_state_dict)(?:_\d+)?\.bin", Role.DATA, Format.TORCH),
        rule(rf"random_states_{RANK}\.pkl", Role.RNG, Format.TORCH, of="random states"),
        rule(r"COMPLETED", Role.MARKER, Format.OPAQUE),
    )

    def recognises(self, listing: Listing) -> bool:
        """Return whether the mark is there, and something that accelerate saves."""
        roles = {Role.WEIGHTS, Role.STATE, Role.RNG, Role.SHARD_METADATA}
        return COMPLETED in listing and any(self.part_of(name).role in roles for name in listing)

    def completeness(self, listing: Listing, around: Around) -> Completeness:
        """Return whether all that accelerate loads is there."""
        missing: list[Missing] = []
        lost: list[Missing] = []
        if COMPLETED not in listing:
            missing.append(Missing(Role.MARKER, COMPLETED))
        missing += self._missing_model(listing, around)
        ranked = {n: part for n in listing if (part := self.part_of(n)).rank is not None}
        rng = {n: part for n, part in ranked.items() if part.role is Role.RNG}
        if not rng:
            lost.append(Missing(Role.RNG, "random_states_0.pkl"))
        lost += missing_ranks(rng, world_size(ranked))
        return Completeness(tuple(missing), saved=COMPLETED in listing, lost=tuple(lost))

    def _missing_model(self, listing: Listing, around: Around) -> Iterator[Missing]:
        if any(name.startswith(_ENGINE) for name in listing):
            parts = {n: self.part_of(n) for n in listing if n.startswith(_ENGINE)}
            if not any(part.role is Role.STATE for part in parts.values()):
                yield Missing(Role.WEIGHTS, f"{_ENGINE}mp_rank_00_model_states.pt")
            yield from missing_ranks({n: part for n, part in parts.items() if part.of})
            return
        if any(name.startswith(_FSDP) for name in listing):
            yield from missing_in(_FSDP, listing, around)
        else:
            parts = {n: self.part_of(n) for n in listing if "/" not in n}
            yield from missing_weights(parts, listing, around)
        if any(name.startswith("optimizer_0/") for name in listing):
            yield from missing_in("optimizer_0/", listing, around)
        elif "optimizer.bin" not in listing:
            yield Missing(Role.OPTIMIZER, "optimizer.bin")
        if "scheduler.bin" not in listing:
            yield Missing(Role.SCHEDULER, "scheduler.bin")


class OpenInstructEpochs(OpenInstruct):
    """The same, saved at the end of each epoch as ``epoch_N``."""

    name = "open-instruct-epochs"
    names = (name_of(rf"epoch_{STEP}"),)
    number_is_step = False
