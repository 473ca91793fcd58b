"""Checkpoints of LLaMA-Factory v1: ``checkpoint-N`` with a marker, and a folder for each part.

Source: LLaMA-Factory ``src/llamafactory/v1/core/utils/checkpoint.py`` (since April 2026): rank 0
writes ``CHECKPOINT_COMPLETE`` after all have synchronised; resume takes the highest N that has it,
and rotation deletes those that have not. It passes over optimizer, schedule, data position and
random states that are not there, save where torch.distributed.checkpoint or DeepSpeed load them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from resume_daemon.errors import ResumeDaemonError
from resume_daemon.layouts import dcp, deepspeed
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
from resume_daemon.layouts.deepspeed import deepspeed_rules
from resume_daemon.layouts.ranks import missing_ranks
from resume_daemon.layouts.transformers_weights import (
    ADAPTERS,
    EXPORTED,
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
_ENGINE = "pytorch_model"


class LlamaFactory(Layout):
    """``checkpoint-N`` with ``metadata.json``, ``model/`` and ``optimizer/``."""

    name = "llamafactory"
    facts = Facts(
        written_by="LLaMA-Factory v1 (v0 writes those of the Hugging Face trainer)",
        recognised="CHECKPOINT_COMPLETE, or metadata.json beside model/ or pytorch_model/",
        step="N of checkpoint-N, which is global_step of metadata.json",
        required="metadata.json with global_step and epoch; model/ with weights (data "
        "parallelism), or model/ and optimizer/, each with .metadata and its shards (FSDP2), or "
        "pytorch_model/ with all that DeepSpeed writes",
        marker="CHECKPOINT_COMPLETE, written last",
        staging="none; without the marker a directory counts for nothing",
        ranks="dataloader/rank_R.pt and rng_state/rank_R.pt (DeepSpeed: random_states_R.pkl) of "
        "each",
        rotation="nothing; directories without the marker are removed as well",
        later="nothing",
        source="LLaMA-Factory v1/core/utils/checkpoint.py, v1/plugins/trainer_plugins/distributed/",
    )
    names = (name_of(rf"checkpoint-{STEP}"),)
    rules = (
        rule(r"CHECKPOINT_COMPLETE", Role.MARKER, Format.OPAQUE),
        rule(r"metadata\.json", Role.TRAINER_STATE, Format.JSON),
        *under("model", (*dcp_rules(Role.WEIGHTS), *WEIGHTS, *ADAPTERS, *SIDE_FILES)),
        *under("hf_model", EXPORTED),
        rule(r"optimizer/state_dict\.pt", Role.OPTIMIZER, Format.TORCH),
        *under("optimizer", dcp_rules(Role.OPTIMIZER)),
        rule(r"scheduler\.pt", Role.SCHEDULER, Format.TORCH),
        rule(rf"dataloader/rank_{RANK}\.pt", Role.DATA, Format.TORCH, of="dataloader"),
        rule(rf"rng_state/rank_{RANK}\.pt", Role.RNG, Format.TORCH, of="rng_state"),
        # With DeepSpeed: accelerate's save_state.
        *under(_ENGINE, deepspeed_rules()),
        rule(r"scheduler\.bin", Role.SCHEDULER, Format.TORCH),
        rule(rf"random_states_{RANK}\.pkl", Role.RNG, Format.TORCH, of="rng_state"),
    )
    beats = ("huggingface", "accelerate")

    def recognises(self, listing: Listing) -> bool:
        """Return whether the marker is there, or the metadata beside a model."""
        model = any(name.startswith(("model/", f"{_ENGINE}/")) for name in listing)
        return MARKER in listing or (METADATA in listing and model)

    def completeness(self, listing: Listing, around: Around) -> Completeness:
        """Return whether the required set is there; the marker says that all ranks are done."""
        parts = self.parts(listing)
        missing = [*_missing_metadata(listing, around)]
        model = {n: part for n, part in parts.items() if n.startswith("model/")}
        engine = any(name.startswith(f"{_ENGINE}/") for name in listing)
        sharded = any(
            part.format in {Format.DCP_SHARD, Format.DCP_METADATA} for part in model.values()
        )
        if engine:
            missing += deepspeed.missing_in(f"{_ENGINE}/", listing, around)
        elif sharded:
            missing += dcp.missing_in("model/", listing, around)
            missing += dcp.missing_in("optimizer/", listing, around)
        else:
            missing += missing_weights(model, listing, around)
        by_rank = {n: part for n, part in parts.items() if part.of in {"rng_state", "dataloader"}}
        lost = [*missing_ranks(by_rank)]
        expected = {Role.RNG: "rng_state/rank_0.pt", Role.DATA: "dataloader/rank_0.pt"}
        if engine:
            expected[Role.RNG] = "random_states_0.pkl"
        else:
            expected[Role.SCHEDULER] = "scheduler.pt"
        if not engine and not sharded:
            expected[Role.OPTIMIZER] = "optimizer/state_dict.pt"
            expected[Role.CONFIGURATION] = "model/config.json"
        present = {part.role for part in parts.values()}
        if Role.ADAPTER_CONFIGURATION in present:
            present.add(Role.CONFIGURATION)
        lost += [Missing(role, what) for role, what in expected.items() if role not in present]
        saved = MARKER in listing
        marker = None if saved else f"{MARKER} is not there, so that the save has not ended"
        return Completeness(tuple(missing), saved, marker, tuple(lost))

    def recorded_steps(self, contents: Mapping[str, Content]) -> Iterator[tuple[str, int]]:
        """Yield the step of ``metadata.json``."""
        value = contents[METADATA].value if METADATA in contents else None
        step = value.get("global_step") if isinstance(value, dict) else None
        if type(step) is int:
            yield METADATA, step


def _missing_metadata(listing: Listing, around: Around) -> Iterator[Missing]:
    """Yield the metadata where it is not there or lacks what a resume asks for."""
    if METADATA not in listing:
        yield Missing(Role.TRAINER_STATE, METADATA)
        return
    try:
        document = around.json(METADATA)
    except ResumeDaemonError:
        return  # It is there, and its own finding says that it cannot be read.
    if isinstance(document, dict) and not {"global_step", "epoch"} <= document.keys():
        yield Missing(Role.TRAINER_STATE, f"{METADATA} with global_step and epoch")
