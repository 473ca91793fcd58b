"""Checkpoints of slime: those of Megatron, with the state of the prompts beside them.

Source: slime of August 2026 ``train.py`` (actor, critic, then the data source),
``slime/backends/megatron_utils/model.py: save`` (Megatron's own save with the rollout's number for
an iteration) and ``slime/rollout/data_source.py``: a missing state is passed over with a log line.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from resume_daemon.layouts.base import Completeness, Missing, Role
from resume_daemon.layouts.megatron import TRACKER, Megatron
from resume_daemon.layouts.published import is_published

if TYPE_CHECKING:
    from resume_daemon.layouts.base import Around
    from resume_daemon.listing import Listing

FOLDER: Final = "rollout"


class Slime(Megatron):
    """``iter_0000100`` beside ``rollout/global_dataset_state_dict_100.pt``."""

    name = "slime"
    facts = replace(
        Megatron.facts,
        written_by="slime",
        recognised="a checkpoint of Megatron beside rollout/global_dataset_state_dict_*.pt; "
        "without one, as before its first save ends or with --disable-rollout-global-dataset, "
        "it is taken for Megatron's "
        "own",
        step="none: N of iter_N counts rollouts, and iteration in its files has to be the same",
        required=Megatron.facts.required
        + "; rollout/global_dataset_state_dict_N.pt beside the checkpoints is missed where it is "
        "not there, and its content is not looked at",
        later="rollout/global_dataset_state_dict_N.pt is written after the tracker, so that a "
        "checkpoint without it is incomplete until the tracker names a later one",
        source="slime train.py, slime/rollout/data_source.py, "
        "slime/backends/megatron_utils/model.py; " + Megatron.facts.source,
    )
    number_is_step = False
    # A folder of that name alone may hold anybody's samples.
    lies_beside = (f"{FOLDER}/global_dataset_state_dict_*.pt",)
    beats = ("megatron", "dcp")

    def recorded_number(self, name: str) -> int | None:
        """Return the rollout: it is what Megatron takes for its iteration."""
        return self.step_of(name)

    def completeness(self, listing: Listing, around: Around) -> Completeness:
        """Return what Megatron's is, and whether the state of the prompts is there or may come."""
        found = super().completeness(listing, around)
        step = self.step_of(listing.name)
        name = f"{FOLDER}/global_dataset_state_dict_{step}.pt"
        if step is None or around.beside(name) is not None:
            return found
        lacking = Missing(Role.DATA, f"{name} beside the checkpoint")
        if is_published(step + 1, around.beside(TRACKER)):
            return replace(found, lost=(lacking,))
        return replace(found, missing=(*found.missing, lacking), saved=False)
