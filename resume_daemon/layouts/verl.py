"""Checkpoints of verl with FSDP: ``global_step_N`` with the actor, and the critic where there is.

Source: verl 0.9 ``trainer/ppo/ray_trainer.py: _save_checkpoint, _load_checkpoint`` (the order of
writes: actor, critic, ``data.pt``, tracker), ``utils/checkpoint/fsdp_checkpoint_manager.py`` and,
for supervised fine-tuning, ``utils/checkpoint/checkpoint_handler.py``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from resume_daemon.layouts import fsdp_shards
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
from resume_daemon.layouts.published import is_published, unpublished
from resume_daemon.layouts.ranks import missing_ranks

if TYPE_CHECKING:
    from resume_daemon.layouts.base import Around, Rule
    from resume_daemon.listing import Listing

TRACKER: Final = "latest_checkpointed_iteration.txt"

SIDE: Final[tuple[Rule, ...]] = (
    rule(r"data\.pt", Role.DATA, Format.TORCH),
    rule(rf"data_{RANK}\.pt", Role.DATA, Format.TORCH, of="data"),
)
"""What lies beside the models: the position in the data, of each rank in supervised fine-tuning."""

_MODEL: Final = fsdp_shards.shard_rules(needs_optimizer=True)
_ROTATED = re.compile(r"data\.pt|transfer_queue/.*|critic/.*", re.ASCII)


class Verl(Layout):
    """``global_step_N/{actor,critic}``, or for supervised fine-tuning all of it at the top."""

    name = "verl"
    facts = Facts(
        written_by="verl with FSDP or FSDP2, for RL and for supervised fine-tuning",
        recognised="model, optim or extra_state_world_size_W_rank_R.pt in actor/, in critic/ or at "
        "the top; data.pt alone is what rotation leaves",
        step="N of global_step_N; no file in it says so",
        required="model_world_size_W_rank_R.pt of every rank, and every rank of any other set that "
        "is there; save_contents may leave out the optimizer or the extra state, and is recorded "
        "nowhere: where the checkpoint before has them, load_checkpoint raises without",
        marker=f"{TRACKER} beside the checkpoints names N or a later step; data.pt comes after all "
        "ranks' files",
        staging="none",
        ranks="W in the files' names, and world_size in fsdp_config.json (0.5 and later)",
        rotation="actor/ and critic/ are removed, global_step_N/data.pt stays: such a stub is "
        "rotated, and never resumed from",
        later="nothing",
        source="verl 0.9 utils/checkpoint/fsdp_checkpoint_manager.py, checkpoint_handler.py, "
        "trainer/ppo/ray_trainer.py",
    )
    names = (name_of(rf"global_step_{STEP}"),)
    rules = (
        *under("actor", _MODEL),
        *under("critic", _MODEL),
        *_MODEL,
        *SIDE,
    )

    def recognises(self, listing: Listing) -> bool:
        """Return whether shards lie where verl puts them, or nothing but what rotation leaves."""
        found = fsdp_shards.folders(listing)
        return not found.isdisjoint({"", "actor/"}) or (
            self.step_of(listing.name) is not None and is_stub(listing)
        )

    def completeness(self, listing: Listing, around: Around) -> Completeness:
        """Return whether every rank's files are there.

        The position in the data is written when all ranks are done, so with it nothing that is
        missing will come.
        """
        if is_stub(listing):
            return STUB
        found = fsdp_shards.folders(listing)
        missing: list[Missing] = []
        lost: list[Missing] = []
        models = sorted(found & {"", "actor/", "critic/"})
        # Without a critic there is no telling whether there should be one; without an actor is.
        for folder in models if {"", "actor/"} & found else ["actor/", *models]:
            without, less = fsdp_shards.missing_in(folder, listing, around)
            missing += without
            lost += less
        lost += missing_data(listing, "data_0.pt" if "" in found else "data.pt")
        return judged(listing, self.step_of(listing.name), around, missing, lost)


STUB: Final = Completeness(
    (),
    saved=False,
    stub="the rest of a checkpoint that verl rotated: it removes actor and critic and leaves "
    "data.pt; there is nothing to resume from",
)


def is_stub(listing: Listing) -> bool:
    """Return whether the actor was there and is not, as ``max_actor_ckpt_to_keep`` leaves it.

    Source: verl ``utils/checkpoint/checkpoint_manager.py: remove_previous_save_local_path``, which
    is given the model's directory.
    """
    return "data.pt" in listing and all(_ROTATED.fullmatch(name) for name in listing)


def missing_data(listing: Listing, example: str) -> list[Missing]:
    """Return the position in the data where it is not there: the data starts again."""
    data = {n: part for n in listing for r in SIDE if (part := r.part_of(n)) is not None}
    return [*missing_ranks(data)] if data else [Missing(Role.DATA, example)]


def judged(
    listing: Listing,
    step: int | None,
    around: Around,
    missing: list[Missing],
    lost: list[Missing],
) -> Completeness:
    """Return the completeness of a checkpoint with verl's tracker beside it."""
    beside = around.beside(TRACKER)
    marker = unpublished(listing, step, beside)
    data = any(each.part_of(name) for name in listing for each in SIDE)
    saved = marker is None and (data or is_published(step, beside))
    return Completeness(tuple(missing), saved=saved, marker=marker, lost=tuple(lost))
