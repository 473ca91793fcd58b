"""Checkpoints of LLaMA-Factory v1: ``checkpoint-N`` with a marker, and a folder for each part.

Source: LLaMA-Factory ``src/llamafactory/v1/core/utils/checkpoint.py`` (since April 2026): rank 0
writes ``CHECKPOINT_COMPLETE`` after all have synchronised; resume takes the highest N that has it,
and rotation deletes those that have not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from resume_daemon.layouts import dcp
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
from resume_daemon.layouts.dcp import dcp_rules
from resume_daemon.layouts.ranks import missing_ranks
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

MARKER = "CHECKPOINT_COMPLETE"
METADATA = "metadata.json"


class LlamaFactory(Layout):
    """``checkpoint-N`` with ``metadata.json``, ``model/`` and ``optimizer/``."""

    name = "llamafactory"
    facts = Facts(
        written_by="LLaMA-Factory v1 (v0 writes those of the Hugging Face trainer)",
        recognised="CHECKPOINT_COMPLETE, or metadata.json beside model/",
        step="N of checkpoint-N, which is global_step of metadata.json",
        required="metadata.json; model/ with weights, or with .metadata and shards (FSDP2)",
        marker="CHECKPOINT_COMPLETE, written last",
        staging="none; without the marker a directory counts for nothing",
        ranks="rng_state/rank_R.pt and dataloader/rank_R.pt of each",
        rotation="nothing; directories without the marker are removed as well",
        later="nothing",
        source="LLaMA-Factory v1/core/utils/checkpoint.py",
    )
    names = (name_of(rf"checkpoint-{STEP}"),)
    rules = (
        rule(r"CHECKPOINT_COMPLETE", Role.MARKER, Format.OPAQUE),
        rule(r"metadata\.json", Role.TRAINER_STATE, Format.JSON),
        *under("model", (*dcp_rules(Role.WEIGHTS), *WEIGHTS, *ADAPTERS, *SIDE_FILES)),
        *under("hf_model", (*WEIGHTS, *ADAPTERS, *SIDE_FILES)),
        rule(r"optimizer/state_dict\.pt", Role.OPTIMIZER, Format.TORCH),
        *under("optimizer", dcp_rules(Role.OPTIMIZER)),
        rule(r"scheduler\.pt", Role.SCHEDULER, Format.TORCH),
        rule(rf"dataloader/rank_{RANK}\.pt", Role.DATA, Format.TORCH, of="dataloader"),
        rule(rf"rng_state/rank_{RANK}\.pt", Role.RNG, Format.TORCH, of="rng_state"),
    )
    beats = ("huggingface",)

    def recognises(self, listing: Listing) -> bool:
        """Return whether the marker is there, or the metadata beside a model."""
        model = any(name.startswith("model/") for name in listing)
        return MARKER in listing or (METADATA in listing and model)

    def completeness(self, listing: Listing, around: Around) -> Completeness:
        """Return whether the required set is there; the marker says that all ranks are done."""
        parts = self.parts(listing)
        missing = [] if METADATA in listing else [Missing(Role.TRAINER_STATE, METADATA)]
        model = {n: part for n, part in parts.items() if n.startswith("model/")}
        if any(part.format in {Format.DCP_SHARD, Format.DCP_METADATA} for part in model.values()):
            missing += dcp.missing_in("model/", listing, around)
        else:
            missing += missing_weights(model, listing, around)
        if any(name.startswith("optimizer/__") for name in listing):
            missing += dcp.missing_in("optimizer/", listing, around)
        by_rank = {n: part for n, part in parts.items() if part.of in {"rng_state", "dataloader"}}
        lost = [*missing_ranks(by_rank)]
        present = {part.role for part in parts.values()}
        lost += [
            Missing(role, what)
            for role, what in (
                (Role.OPTIMIZER, "optimizer/"),
                (Role.SCHEDULER, "scheduler.pt"),
                (Role.RNG, "rng_state/rank_0.pt"),
                (Role.DATA, "dataloader/rank_0.pt"),
            )
            if role not in present
        ]
        described = {"model/config.json", "model/adapter_config.json"}
        if Role.SHARD_METADATA not in present and not described & parts.keys():
            lost.append(Missing(Role.CONFIGURATION, "model/config.json"))
        saved = MARKER in listing
        marker = None if saved else f"{MARKER} is not there, so that the save has not ended"
        return Completeness(tuple(missing), saved, marker, tuple(lost))

    def recorded_steps(self, contents: Mapping[str, Content]) -> Iterator[tuple[str, int]]:
        """Yield the step of ``metadata.json``."""
        value = contents[METADATA].value if METADATA in contents else None
        step = value.get("global_step") if isinstance(value, dict) else None
        if type(step) is int:
            yield METADATA, step
