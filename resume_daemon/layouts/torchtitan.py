"""Checkpoints of torchtitan: ``step-N``, one directory of ``torch.distributed.checkpoint``.

Source: torchtitan 0.3 and of August 2026 ``components/checkpointer/dcp.py``: the model's tensors
are called as its parameters are, everything else begins with ``optimizer.``, ``lr_scheduler.``,
``dataloader.`` or ``train_state.``; ``_find_load_step`` takes what has ``.metadata`` or
``model.safetensors.index.json``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from resume_daemon.errors import ResumeDaemonError
from resume_daemon.formats.dcp_metadata import DcpMetadata
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
)
from resume_daemon.layouts.dcp import dcp_rules, metadata_of, missing_in
from resume_daemon.layouts.transformers_weights import EXPORTED, missing_weights

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from resume_daemon.layouts.base import Around, Content
    from resume_daemon.listing import Listing

INDEX: Final = "model.safetensors.index.json"
_SHARDED: Final = "sharded/"
_INSIDE = (
    ("optim", Role.OPTIMIZER),
    # As in PyTorch's own examples of such a directory, which may be called step-N as well.
    ("app.optim", Role.OPTIMIZER),
    ("lr_scheduler.", Role.SCHEDULER),
    ("dataloader.", Role.DATA),
    ("train_state.", Role.OTHER),
    ("", Role.WEIGHTS),
)
_STATE = tuple(begin for begin, role in _INSIDE if role is not Role.WEIGHTS)


class TorchTitan(Layout):
    """``step-N`` in the checkpoint folder of the job's dump folder."""

    name = "torchtitan"
    facts = Facts(
        written_by="torchtitan",
        recognised="step-N with .metadata or shards at the top, with model.safetensors.index.json, "
        "or with sharded/",
        step="N of step-N, which is train_state.step in the shards",
        required=".metadata and every shard that it names; where the last step was saved for "
        "Hugging Face, the index and every safetensors shard that it names",
        marker=".metadata, or model.safetensors.index.json, each written last",
        staging="none",
        ranks="the shards that .metadata names",
        rotation="nothing: the whole directory goes, by its number and not by whether it is whole",
        later="nothing; ft-replicat-<id>/step-N, beside them, holds the positions in the data of "
        "torchft's replicas. The last step of a training holds the model only "
        "(last_save_model_only is set by default), and torchtitan raises where it is resumed "
        "from; a save of the model alone by mistake cannot be told from it, so it is only told",
        source="torchtitan torchtitan/components/checkpointer/{base,dcp}.py, "
        "torchtitan/experiments/torchft/checkpoint.py",
    )
    names = (name_of(rf"step-{STEP}"),)
    distinctive = False
    rules = (
        *dcp_rules(Role.STATE, _INSIDE),
        # Of each rank, before rank 0 joins them: the same values a second time.
        rule(r"sharded/[^/]+\.safetensors", Role.OTHER, Format.SAFETENSORS),
        *EXPORTED,
    )
    beats = ("dcp", "huggingface")

    def recognises(self, listing: Listing) -> bool:
        """Return whether it is called so and has shards of either kind."""
        if self.step_of(listing.name) is None:
            return False
        roles = {self.part_of(name).role for name in listing}
        return bool(
            roles & {Role.STATE, Role.SHARD_METADATA, Role.WEIGHTS, Role.WEIGHTS_INDEX}
        ) or (any(name.startswith(_SHARDED) for name in listing))

    def completeness(self, listing: Listing, around: Around) -> Completeness:
        """Return whether the metadata or the index is there, with every shard that it names."""
        parts = {name: self.part_of(name) for name in listing if "/" not in name}
        if any(part.role in {Role.STATE, Role.SHARD_METADATA} for part in parts.values()):
            missing = tuple(missing_in("", listing, around))
            saved = bool(metadata_of("", listing))
            return Completeness(missing, saved=saved, model_only=_model_only(listing, around))
        if INDEX not in listing:
            return Completeness((Missing(Role.WEIGHTS_INDEX, INDEX),), saved=False)
        return Completeness(
            tuple(missing_weights(parts, listing, around)),
            saved=True,
            model_only="the last step, saved for Hugging Face: the model only",
        )

    def recorded_steps(self, contents: Mapping[str, Content]) -> Iterator[tuple[str, int]]:
        """Yield the shard in which the trainer's step is, where it is a plain number."""
        for name, content in contents.items():
            if isinstance(content.value, dict):
                step = content.value.get("train_state.step")
                if type(step) is int:
                    yield name, step


def _model_only(listing: Listing, around: Around) -> str | None:
    """Return what says that nothing but the model is in it; None where there is more, or other."""
    for name in metadata_of("", listing):
        try:
            found = around.read(name, Format.DCP_METADATA).value
        except ResumeDaemonError:
            return None
        if not isinstance(found, DcpMetadata):
            return None
        if any(each.startswith(_STATE) for each in (*found.tensors, *found.objects)):
            return None
    return "no optimizer, schedule or step in it: the model only, as after the last step"
