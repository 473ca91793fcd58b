"""Checkpoints of SkyRL: ``global_step_N`` with the policy, and the critic where there is one.

Source: SkyRL of August 2026 ``train/trainer.py: save_checkpoints, load_checkpoints`` (the order of
writes: policy, critic, ``data.pt``, ``trainer_state.pt``, tracker), ``train/sft_trainer.py``,
``train/fully_async_trainer.py`` and ``backends/skyrl_train/distributed/fsdp_strategy.py``.
"""

from __future__ import annotations

import re
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
from resume_daemon.layouts.megatron_dist import INSIDE, METADATA, dist_rules, missing_dist
from resume_daemon.layouts.published import is_published, unpublished

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from resume_daemon.layouts.base import Around, Content, Rule
    from resume_daemon.listing import Listing

TRACKER: Final = "latest_ckpt_global_step.txt"
TRAINER_STATE: Final = "trainer_state.pt"

_MODEL: Final[tuple[Rule, ...]] = (
    # An optimizer that is not there is passed over, whatever is loaded.
    *fsdp_shards.shard_rules(needs_optimizer=False),
    # With Megatron the whole state lies beside the configuration, and with LoRA the adapter of each
    # rank, whose name says all of its ranks.
    *dist_rules(Role.STATE, INSIDE),
    rule(r"adapter_tp\d+_[a-z0-9_]+\.pt", Role.WEIGHTS, Format.TORCH),
)
_DIST = re.compile(
    r"(?P<folder>policy/|critic/)(?:(?:__\d+)?\.metadata|__\d+_\d+\.distcp)", re.ASCII
)


class SkyRl(Layout):
    """``global_step_N/{policy,critic}`` with the trainer's state beside them."""

    name = "skyrl"
    facts = Facts(
        written_by="SkyRL with FSDP2 or Megatron, for RL and for supervised fine-tuning",
        recognised="model, optim or extra_state_world_size_W_rank_R.pt, or .metadata and .distcp "
        "files, in policy/ or critic/",
        step="N of global_step_N, which is global_step of trainer_state.pt",
        required="trainer_state.pt; model and extra_state of every rank, and every rank's optim "
        "where any has it; with Megatron .metadata, its shards and metadata.json",
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
    rules = (
        *under("policy", _MODEL),
        *under("critic", _MODEL),
        rule(r"trainer_state\.pt", Role.TRAINER_STATE, Format.TORCH),
        # The trainer warns and goes on where it cannot load this one.
        rule(r"data\.pt", Role.OTHER, Format.TORCH),
        rule(r"fully_async_state\.pt", Role.DATA, Format.TORCH),
    )

    def recognises(self, listing: Listing) -> bool:
        """Return whether shards lie where SkyRL puts them."""
        found = fsdp_shards.folders(listing) | _dist_folders(listing)
        return "policy/" in found or ("critic/" in found and TRAINER_STATE in listing)

    def completeness(self, listing: Listing, around: Around) -> Completeness:
        """Return whether the trainer's state and every rank's files are there."""
        missing: list[Missing] = []
        lost: list[Missing] = []
        dist = _dist_folders(listing)
        found = fsdp_shards.folders(listing) | dist
        for folder in ("policy/", *({"critic/"} & found)):
            if folder in dist:
                missing += missing_dist(folder, listing, around)
                continue
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
        # Written in the background, Megatron's shards may come after all else.
        saved = saved and all(f"{folder}{METADATA}" in listing for folder in dist)
        return Completeness(tuple(missing), saved=saved, marker=marker, lost=tuple(lost))

    def recorded_steps(self, contents: Mapping[str, Content]) -> Iterator[tuple[str, int]]:
        """Yield the step of the trainer's state."""
        state = contents[TRAINER_STATE].value if TRAINER_STATE in contents else None
        step = state.get("global_step") if isinstance(state, dict) else None
        if type(step) is int:
            yield TRAINER_STATE, step


def _dist_folders(listing: Listing) -> frozenset[str]:
    """Return the models that Megatron saved."""
    return frozenset(match["folder"] for name in listing if (match := _DIST.fullmatch(name)))
