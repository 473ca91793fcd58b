"""Checkpoints of SkyRL: ``global_step_N`` with the policy, and the critic where there is one.

Source: SkyRL of August 2026 ``train/trainer.py: save_checkpoints, load_checkpoints`` (the order of
writes: policy, critic, ``data.pt``, ``trainer_state.pt``, tracker), ``train/sft_trainer.py``,
``train/fully_async_trainer.py`` and ``backends/skyrl_train/distributed/fsdp_strategy.py``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from resume_daemon.layouts import fsdp_shards
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
from resume_daemon.layouts.published import is_published, unpublished

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from resume_daemon.layouts.base import Around, Content
    from resume_daemon.listing import Listing

TRACKER: Final = "latest_ckpt_global_step.txt"
TRAINER_STATE: Final = "trainer_state.pt"


class SkyRl(Layout):
    """``global_step_N/{policy,critic}`` with the trainer's state beside them."""

    name = "skyrl"
    facts = Facts(
        written_by="SkyRL with FSDP2, for RL and for supervised fine-tuning",
        recognised="model, optim or extra_state_world_size_W_rank_R.pt in policy/ or critic/",
        step="N of global_step_N, which is global_step of trainer_state.pt",
        required="trainer_state.pt; model and extra_state of every rank, and every rank's optim "
        "where any has it",
        marker=f"{TRACKER} beside the checkpoints names N or a later step; trainer_state.pt is "
        "the last file in the directory",
        staging="none",
        ranks="W in the files' names, and world_size in fsdp_config.json",
        rotation="nothing: the whole directory goes",
        later="fully_async_state.pt, after the tracker",
        source="SkyRL skyrl/train/trainer.py: save_checkpoints, "
        "skyrl/backends/skyrl_train/distributed/fsdp_strategy.py",
    )
    names = (name_of(rf"global_step_{STEP}"),)
    one_step_each = False
    rules = (
        *under("policy", fsdp_shards.SHARDS),
        *under("critic", fsdp_shards.SHARDS),
        rule(r"trainer_state\.pt", Role.TRAINER_STATE, Format.TORCH),
        # The trainer warns and goes on where it cannot load this one.
        rule(r"data\.pt", Role.OTHER, Format.TORCH),
        rule(r"fully_async_state\.pt", Role.DATA, Format.TORCH),
    )

    def recognises(self, listing: Listing) -> bool:
        """Return whether shards lie where SkyRL puts them."""
        found = fsdp_shards.folders(listing)
        return "policy/" in found or ("critic/" in found and TRAINER_STATE in listing)

    def completeness(self, listing: Listing, around: Around) -> Completeness:
        """Return whether the trainer's state and every rank's files are there."""
        missing: list[Missing] = []
        lost: list[Missing] = []
        found = fsdp_shards.folders(listing)
        for folder in ("policy/", *({"critic/"} & found)):
            without, less = fsdp_shards.missing_in(
                folder, listing, around, required=(fsdp_shards.MODEL, fsdp_shards.EXTRA)
            )
            missing += without
            lost += less
        if TRAINER_STATE not in listing:
            missing.append(Missing(Role.TRAINER_STATE, TRAINER_STATE))
        if "data.pt" not in listing:
            lost.append(Missing(Role.DATA, "data.pt"))
        step, beside = self.step_of(listing.name), around.beside(TRACKER)
        marker = unpublished(listing, step, beside)
        saved = marker is None and (TRAINER_STATE in listing or is_published(step, beside))
        return Completeness(tuple(missing), saved=saved, marker=marker, lost=tuple(lost))

    def recorded_steps(self, contents: Mapping[str, Content]) -> Iterator[tuple[str, int]]:
        """Yield the step of the trainer's state."""
        state = contents[TRAINER_STATE].value if TRAINER_STATE in contents else None
        step = state.get("global_step") if isinstance(state, dict) else None
        if type(step) is int:
            yield TRAINER_STATE, step
