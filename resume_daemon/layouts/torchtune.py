"""Checkpoints of torchtune: ``epoch_N`` or ``step_N`` with a Hugging Face model.

Source: torchtune 0.6.1 and of April 2026 ``training/checkpointing/_checkpointer.py`` (weights,
adapter, copies of the base model's small files, then ``recipe_state.pt``, in this order) and
``_checkpoint_client.py`` (asynchronous: one directory of ``torch.distributed.checkpoint``).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

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
from resume_daemon.layouts.dcp import dcp_rules, metadata_of, missing_in
from resume_daemon.layouts.transformers_weights import EXPORTED, missing_weights

if TYPE_CHECKING:
    from resume_daemon.layouts.base import Around
    from resume_daemon.listing import Listing

RECIPE_STATE: Final = "recipe_state.pt"
SHARED_STATE: Final = "recipe_state/recipe_state.pt"
"""In the output directory, one for all epochs (0.5 and 0.6)."""

_ADAPTER: Final = "adapter_model.pt"
_MARKS: Final = frozenset({RECIPE_STATE, _ADAPTER, "original_repo_id.json"})
_INSIDE = (("optimizer.", Role.OPTIMIZER), ("model.", Role.WEIGHTS), ("adapter.", Role.WEIGHTS))
_ADAPTERS = re.compile(r"adapter_model\.(?:pt|bin|safetensors)", re.ASCII)


class TorchTune(Layout):
    """``step_N`` in the output directory of a recipe."""

    name = "torchtune"
    facts = Facts(
        written_by="torchtune's recipes",
        recognised="step_N or epoch_N with recipe_state.pt, adapter_model.pt or "
        "original_repo_id.json, or with .metadata at the top of epoch_N",
        step="N of step_N; epoch_N counts epochs",
        required="the weights as safetensors or .bin with every shard, or an adapter; where it was "
        "saved asynchronously, .metadata and every shard that it names",
        marker="none; recipe_state.pt is the last file of all but the final save",
        staging="none",
        ranks="none, except the shards that .metadata names",
        rotation="nothing: the whole directory goes",
        later="nothing. After the last epoch there is no recipe_state.pt, so that optimizer and "
        "progress are not in it: it cannot be told from one that lost the file, so it is only "
        "told; torchtune 0.5 and 0.6 keep one recipe_state/recipe_state.pt for all epochs beside "
        "them, overwritten at each",
        source="torchtune torchtune/training/checkpointing/_checkpointer.py, _checkpoint_client.py",
    )
    names = (name_of(rf"step_{STEP}"),)
    distinctive = False
    rules = (
        rule(re.escape(RECIPE_STATE), Role.STATE, Format.TORCH, inside=_INSIDE),
        rule(re.escape(_ADAPTER), Role.WEIGHTS, Format.TORCH),
        *dcp_rules(Role.STATE, _INSIDE),
        *under("adapter_model", dcp_rules(Role.WEIGHTS)),
        rule(r"original_repo_id\.json", Role.OTHER, Format.JSON),
        *EXPORTED,
    )
    beats = ("huggingface", "dcp")

    def recognises(self, listing: Listing) -> bool:
        """Return whether it is called so, and holds what only torchtune puts there."""
        return self.step_of(listing.name) is not None and any(n in _MARKS for n in listing)

    def completeness(self, listing: Listing, around: Around) -> Completeness:
        """Return whether the weights are whole; what else belongs there is not always written."""
        if metadata_of("", listing) or any(n.endswith(".distcp") and "/" not in n for n in listing):
            return Completeness(
                tuple(missing_in("", listing, around)), saved=bool(metadata_of("", listing))
            )
        parts = {name: self.part_of(name) for name in listing if "/" not in name}
        roles = {Role.WEIGHTS, Role.WEIGHTS_INDEX}
        base = {n: part for n, part in parts.items() if not _ADAPTERS.fullmatch(n)}
        whole = base if any(part.role in roles for part in base.values()) else parts
        missing: list[Missing] = []
        if _ADAPTER not in listing or whole is base:
            # The adapter in its own form needs no configuration beside it.
            missing += missing_weights(whole, listing, around)
        saved = RECIPE_STATE in listing
        without = not saved and around.beside(SHARED_STATE) is None
        return Completeness(
            tuple(missing),
            saved=saved,
            model_only="recipe_state.pt is not there: the model only, as after the last epoch"
            if without
            else None,
        )


class TorchTuneEpochs(TorchTune):
    """The same, saved at the end of each epoch as ``epoch_N``."""

    name = "torchtune-epochs"
    names = (name_of(rf"epoch_{STEP}"),)
    number_is_step = False

    def recognises(self, listing: Listing) -> bool:
        """Return whether it is called so, and holds what torchtune puts there."""
        return super().recognises(listing) or (
            self.step_of(listing.name) is not None and bool(metadata_of("", listing))
        )
