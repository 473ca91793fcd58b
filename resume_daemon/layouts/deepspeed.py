"""Checkpoints of the DeepSpeed engine, bare or inside of another trainer's.

Source: deepspeed 0.19 ``runtime/engine.py`` (``_get_ckpt_name``, ``_get_zero_ckpt_name``,
``_get_expert_ckpt_name``, ``_save_checkpoint``), ``runtime/pipe/module.py: ckpt_layer_path``, and
checkpoints made with it on two ranks. ``latest`` is written by rank 0 while others may still write
their shards, so it proves nothing of them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

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
from resume_daemon.layouts.published import is_published
from resume_daemon.layouts.ranks import MOST_RANKS, missing_ranks

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from resume_daemon.layouts.base import Around, Content, Part, Rule
    from resume_daemon.listing import Listing

LATEST = "latest"
_SHOWN = 8

_INSIDE = (
    ("module.", Role.WEIGHTS),
    ("optimizer.", Role.OPTIMIZER),
    ("optimizer_state_dict.", Role.OPTIMIZER),
)


def deepspeed_rules() -> tuple[Rule, ...]:
    """Return the rules of the files in a tag's directory."""
    return (
        rule(
            rf"zero_pp_rank_{RANK}_mp_rank_\d+_model_states\.pt",
            Role.STATE,
            Format.TORCH,
            of="model states",
            inside=_INSIDE,
        ),
        # The fp32 master weights lie among them, as flat groups. Older versions left out the _.
        rule(
            rf"(?:bf16_|fp16_)?zero_pp_rank_{RANK}_mp_rank_\d+_?optim_states\.pt",
            Role.OPTIMIZER,
            Format.TORCH,
            of="optimizer states",
        ),
        rule(
            rf"expp_rank_{RANK}_mp_rank_\d+_optim_states\.pt",
            Role.OPTIMIZER,
            Format.TORCH,
            of="expert optimizer states",
        ),
        rule(r"mp_rank_\d+(?:_\d+)?_model_states\.pt", Role.STATE, Format.TORCH, inside=_INSIDE),
        rule(
            r"layer_-?\d+_expert_\d+_mp_rank_\d+_model_states\.pt",
            Role.WEIGHTS,
            Format.TORCH,
        ),
        rule(r"layer_\d+-model(?:_\d+)?-model_states\.pt", Role.WEIGHTS, Format.TORCH),
        rule(r"offloaded_tensors/.+", Role.OPTIMIZER, Format.OPAQUE),
    )


def missing_in(folder: str, listing: Listing, around: Around) -> Iterator[Missing]:
    """Yield what a tag's directory lacks: model states, or the files of some ranks.

    Args:
        folder: ``""``, or a folder's name that ends in a slash.
        listing: The checkpoint.
        around: Reads the model states, which say how many ranks there were.
    """
    parts = _parts(folder, listing)
    states = sorted(name for name, part in parts.items() if part.role is Role.STATE)
    if not states:
        what = f"{folder}mp_rank_00_model_states.pt (or a shard of it from each rank)"
        yield Missing(Role.WEIGHTS, what)
        return
    sizes = _sizes(states[0], around)
    data_parallel, model_parallel = sizes.get("dp_world_size"), sizes.get("mp_world_size")
    found = {name[len(folder) :].rpartition("mp_rank_")[2][:2] for name in states}
    for number in range(model_parallel or 0):
        if f"{number:02d}" not in found:
            yield Missing(Role.WEIGHTS, f"model states of model-parallel rank {number}")
    by_rank = {
        name: part
        for name, part in parts.items()
        if part.rank is not None and part.of != "expert optimizer states"
    }
    for each in sorted(found):
        same = {n: p for n, p in by_rank.items() if f"_mp_rank_{each}" in n}
        # Without ZeRO there is no file of a rank, and the optimizer lies in the model states.
        yield from missing_ranks(same, data_parallel) if same else ()
    yield from _missing_experts(folder, parts, sizes.get("experts", ()))
    experts = {n: p for n, p in parts.items() if p.of == "expert optimizer states"}
    yield from missing_ranks(experts)
    if sizes.get("zero") and not any(part.of == "optimizer states" for part in parts.values()):
        yield Missing(Role.OPTIMIZER, f"{folder}zero_pp_rank_0_mp_rank_00_optim_states.pt")


def missing_tag(listing: Listing, around: Around) -> Iterator[Missing]:
    """Yield what ``latest`` inside of a checkpoint lacks, without which the engine loads nothing.

    Source: transformers 5.23 ``integrations/deepspeed.py: deepspeed_load_checkpoint`` and
    lightning's ``strategies/deepspeed.py``, which raise then.
    """
    if LATEST not in listing:
        yield Missing(Role.SHARD_METADATA, f"{LATEST} (the file that names the tag)")
        return
    try:
        tag = around.read(LATEST, Format.TEXT).value
    except ResumeDaemonError:
        return  # Its own finding says so.
    if not any(name.startswith(f"{tag}/") for name in listing):
        yield Missing(Role.SHARD_METADATA, f"{tag[:50]}/ (which {LATEST} names)")


def _missing_experts(
    folder: str, parts: Mapping[str, Part], counts: tuple[int, ...]
) -> Iterator[Missing]:
    """Yield the experts' files that are not there, given how many experts each layer has."""
    pattern = re.compile(r"layer_(\d+)_expert_(\d+)_", re.ASCII)
    found = {
        (int(match[1]), int(match[2]))
        for name in parts
        if (match := pattern.match(name[len(folder) :]))
    }
    for layer, count in enumerate(counts if found else ()):
        absent = [expert for expert in range(count) if (layer, expert) not in found]
        for expert in absent[:_SHOWN]:
            name = f"{folder}layer_{layer}_expert_{expert}_mp_rank_00_model_states.pt"
            yield Missing(Role.WEIGHTS, name)


def steps_in(folder: str, contents: Mapping[str, Content]) -> Iterator[tuple[str, int]]:
    """Yield each file of model states in a folder with the step that it records."""
    for name, content in contents.items():
        if name.startswith(folder) and name.endswith("_model_states.pt"):
            step = _integer(content.value, "global_steps")
            if step is not None:
                yield name, step


def _parts(folder: str, listing: Listing) -> dict[str, Part]:
    rules = deepspeed_rules()
    found = {}
    for name in listing:
        if name.startswith(folder):
            for each in rules:
                if (part := each.part_of(name[len(folder) :])) is not None:
                    found[name] = part
                    break
    return found


def _sizes(name: str, around: Around) -> dict[str, Any]:
    """Return how many ranks and experts the model states speak of, and the stage of ZeRO."""
    try:
        value = around.read(name, Format.TORCH).value
    except ResumeDaemonError:
        return {}  # Its own finding says so.
    found: dict[str, Any] = {
        key: size
        for key in ("dp_world_size", "mp_world_size")
        if (size := _integer(value, key)) is not None and 0 < size < MOST_RANKS
    }
    config = value.get("ds_config") if isinstance(value, dict) else None
    zero = config.get("zero_optimization") if isinstance(config, dict) else None
    experts = value.get("num_experts") if isinstance(value, dict) else None
    if isinstance(experts, list) and all(
        type(count) is int and 0 <= count < MOST_RANKS for count in experts
    ):
        found["experts"] = tuple(experts)
    return found | {"zero": _integer(zero, "stage") or 0}


def _integer(value: Any, key: str) -> int | None:
    found = value.get(key) if isinstance(value, dict) else None
    return found if type(found) is int and found >= 0 else None


class DeepSpeed(Layout):
    """``global_stepK`` in the directory given to ``save_checkpoint``."""

    name = "deepspeed"
    facts = Facts(
        written_by="the DeepSpeed engine's save_checkpoint, by scripts and trainers of many kinds",
        recognised="files such as mp_rank_00_model_states.pt or "
        "zero_pp_rank_0_mp_rank_00_model_states.pt",
        step="K of global_stepK, which is global_steps in the model states",
        required="the model states of every model-parallel rank; with ZeRO the optimizer states, "
        "and with ZeRO-3 the model states, of every data-parallel rank",
        marker="none; latest beside it is written before other ranks have finished",
        staging="none",
        ranks="dp_world_size and mp_world_size in the model states",
        rotation="nothing; the engine keeps all, and trainers remove whole directories",
        later="zero_to_fp32.py and latest beside it",
        source="deepspeed 0.19 runtime/engine.py; checkpoints of ZeRO 0 to 3 on two ranks",
    )
    names = (name_of(rf"global_step{STEP}"),)
    rules = deepspeed_rules()

    def recognises(self, listing: Listing) -> bool:
        """Return whether any file of the engine lies at the top."""
        return bool(_parts("", listing))

    def completeness(self, listing: Listing, around: Around) -> Completeness:
        """Return whether every rank's files are there; nothing in it says that the save ended."""
        missing = tuple(missing_in("", listing, around))
        return Completeness(missing, saved=not missing or has_ended(self, listing, around))

    def recorded_steps(self, contents: Mapping[str, Content]) -> Iterator[tuple[str, int]]:
        """Yield ``global_steps`` of each file of model states."""
        return steps_in("", contents)


def has_ended(layout: Layout, listing: Listing, around: Around) -> bool:
    """Return whether ``latest`` names a later tag: saves follow one another, after a barrier."""
    step = layout.step_of(listing.name)
    return step is not None and is_published(step + 1, around.beside(LATEST))
