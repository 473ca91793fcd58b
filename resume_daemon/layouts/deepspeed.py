"""Checkpoints of the DeepSpeed engine, bare or inside of another trainer's.

Source: deepspeed 0.19 ``runtime/engine.py`` (``_get_ckpt_name``, ``_get_zero_ckpt_name``,
``_get_expert_ckpt_name``, ``_save_checkpoint``), ``runtime/pipe/module.py: ckpt_layer_path``,
``checkpoint/ds_to_universal.py``, and checkpoints made with it on two ranks. ``latest`` is written
by rank 0 while others may still write their shards, so it proves nothing of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from resume_daemon.errors import ResumeDaemonError
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
)
from resume_daemon.layouts.deepspeed_missing import MODEL, OPTIMIZER, missing_in
from resume_daemon.layouts.deepspeed_state import integer, padding, partition_count, state_of
from resume_daemon.layouts.published import is_published

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from resume_daemon.layouts.base import Around, Content, Rule
    from resume_daemon.listing import Listing

__all__ = [
    "LATEST",
    "DeepSpeed",
    "deepspeed_rules",
    "missing_in",
    "missing_tag",
    "named_tag",
    "padding_in",
    "steps_in",
]

LATEST: Final = "latest"
_UNIVERSAL = "_universal"

# Shares of frozen parameters are padded with whatever the memory held, so they are no weights.
_INSIDE = (("module.", Role.WEIGHTS), ("optimizer.", Role.OPTIMIZER))


def deepspeed_rules() -> tuple[Rule, ...]:
    """Return the rules of the files in a tag's directory."""
    mp = r"mp_rank_(?P<of>\d{2,6})"  # A stage of a pipeline has tensors of its own.
    return (
        rule(
            rf"zero_pp_rank_{RANK}_{mp}_model_states\.pt",
            Role.STATE,
            Format.TORCH,
            of="model states",
            inside=_INSIDE,
        ),
        # The fp32 master weights lie among them, as flat groups. Older versions left out the _.
        rule(
            rf"(?:bf16_|fp16_)?zero_pp_rank_{RANK}_{mp}_?optim_states\.pt",
            Role.OPTIMIZER,
            Format.TORCH,
            of="optimizer states",
        ),
        rule(
            rf"expp_rank_{RANK}_{mp}_optim_states\.pt",
            Role.OPTIMIZER,
            Format.TORCH,
            of="expert optimizer states",
        ),
        rule(r"mp_rank_\d+(?:_\d+)?_model_states\.pt", Role.STATE, Format.TORCH, inside=_INSIDE),
        rule(
            r"(?:layer_-?\d+_)?expert_\d+_mp_rank_\d+_model_states\.pt", Role.WEIGHTS, Format.TORCH
        ),
        # The name of a layer leaves out the model-parallel rank where there is but one.
        rule(r"layer_\d+(?:-[a-z]+_\d+)*-model_states\.pt", Role.WEIGHTS, Format.TORCH),
        rule(r"offloaded_tensors/.+", Role.OPTIMIZER, Format.OPAQUE),
        rule(r"zero/.+/fp32\.pt", Role.WEIGHTS, Format.TORCH),
        rule(r"zero/(?:.+/)?[^/]+\.pt", Role.OPTIMIZER, Format.TORCH),
    )


def named_tag(listing: Listing, around: Around) -> str | None:
    """Return the tag that ``latest`` inside of a checkpoint names; None where it cannot be read."""
    try:
        tag = around.read(LATEST, Format.TEXT).value if LATEST in listing else None
    except ResumeDaemonError:
        return None  # Its own finding says so.
    return tag if isinstance(tag, str) else None


def missing_tag(listing: Listing, around: Around) -> Iterator[Missing]:
    """Yield what ``latest`` inside of a checkpoint lacks, without which the engine loads nothing.

    Source: transformers 5.23 ``integrations/deepspeed.py: deepspeed_load_checkpoint`` and
    lightning's ``strategies/deepspeed.py``, which raise then.
    """
    if LATEST not in listing:
        yield Missing(Role.SHARD_METADATA, f"{LATEST} (the file that names the tag)")
        return
    tag = named_tag(listing, around)
    if tag is not None and not any(name.startswith(f"{tag}/") for name in listing):
        yield Missing(Role.SHARD_METADATA, f"{tag[:50]}/ (which {LATEST} names)")


def steps_in(folder: str, contents: Mapping[str, Content]) -> Iterator[tuple[str, int]]:
    """Yield each file of model states in a folder with the step that it records."""
    for name, content in contents.items():
        if name.startswith(folder) and MODEL.fullmatch(name.rpartition("/")[2]):
            step = integer(content.value, "global_steps")
            if step is not None:
                yield name, step


def padding_in(contents: Mapping[str, Content]) -> dict[str, int]:
    """Return how many elements of a tensor at most belong to no parameter, by optimizer's file.

    Only with ZeRO-3: of the other stages nothing is saved that was never written.
    """
    found: dict[str, int] = {}
    for name, content in contents.items():
        if (match := OPTIMIZER.fullmatch(name.rpartition("/")[2])) is None:
            continue
        # Every rank's model states name the same parameters; of the other stages none has a rank.
        begin, end = name[: name.rfind("/") + 1], f"_mp_rank_{match['mp']}_model_states.pt"
        states = [contents.get(f"{begin}zero_pp_rank_{r}{end}") for r in (match["rank"], "0")]
        state = state_of(next((each.value for each in states if each is not None), None))
        ranks = partition_count(content.value) or state.data_parallel
        if ranks is not None and (unused := padding(state.shapes, ranks, int(match["rank"]))):
            found[name] = unused
    return found


class DeepSpeed(Layout):
    """``global_stepK`` in the directory given to ``save_checkpoint``."""

    name = "deepspeed"
    facts = Facts(
        written_by="the DeepSpeed engine's save_checkpoint, by scripts and trainers of many kinds",
        recognised="files such as mp_rank_00_model_states.pt or "
        "zero_pp_rank_0_mp_rank_00_model_states.pt",
        step="K of global_stepK, which is global_steps in the model states unless the trainer "
        "gives tags of its own",
        required="the model states of every model-parallel rank; with ZeRO the optimizer states, "
        "and with ZeRO-3 the model states, of every data-parallel rank; every expert, every "
        "layer of a pipeline with parameters, the swapped tensors of every rank; in a universal "
        "checkpoint every parameter that the model states name, and optimizer_state.pt",
        marker="none; latest beside it is written before other ranks have finished",
        staging="none",
        ranks="dp_world_size and mp_world_size in the model states; partition_count in the "
        "optimizer states where a group smaller than the world shares out (MiCS); none where "
        "use_node_local_storage is set",
        rotation="nothing; the engine keeps all, and trainers remove whole directories",
        later="zero_to_fp32.py and latest beside it",
        source="deepspeed 0.19 runtime/engine.py; checkpoints of ZeRO 0 to 3, experts and a "
        "pipeline on two ranks",
    )
    names = (name_of(rf"global_step{STEP}(?:{_UNIVERSAL})?"),)
    rules = deepspeed_rules()

    def recognises(self, listing: Listing) -> bool:
        """Return whether any file of the engine lies at the top."""
        return any(
            each.part_of(name) is not None
            for name in listing
            if "/" not in name
            for each in deepspeed_rules()
        )

    def completeness(self, listing: Listing, around: Around) -> Completeness:
        """Return whether every rank's files are there; nothing in it says that the save ended."""
        missing = tuple(missing_in("", listing, around))
        return Completeness(missing, saved=not missing or has_ended(self, listing, around))

    def recorded_steps(self, contents: Mapping[str, Content]) -> Iterator[tuple[str, int]]:
        """Yield ``global_steps`` of each file of model states, where they are at odds.

        The name alone does not contradict them: trainers give tags by their own count of rollouts
        or batches (open-instruct and OpenRLHF by rollouts), and it is the engine's that is saved.
        """
        found = list(steps_in("", contents))
        yield from found if len({step for _, step in found}) > 1 else ()


def has_ended(layout: Layout, listing: Listing, around: Around) -> bool:
    """Return whether ``latest`` names a later tag: saves follow one another, after a barrier."""
    step = layout.step_of(listing.name)
    if listing.name.endswith(_UNIVERSAL):  # Its own file is the last that is written.
        beside = around.beside(f"{LATEST}{_UNIVERSAL}")
        return beside is not None and beside.text.strip() == listing.name
    return step is not None and is_published(step + 1, around.beside(LATEST))
