"""What the directory of a DeepSpeed tag lacks: whatever rank, expert, layer or parameter it is.

Source: deepspeed 0.19 ``runtime/engine.py`` (``_get_all_ckpt_names``, ``_load_checkpoint``,
``_get_all_zero_checkpoints``, ``load_moe_state_dict``: each raises where a file is not there),
``runtime/pipe/module.py: load_state_dir``, ``checkpoint/ds_to_universal.py``.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from resume_daemon.errors import ResumeDaemonError
from resume_daemon.layouts.base import Format, Missing, Role
from resume_daemon.layouts.deepspeed_state import EngineState, partition_count, state_of
from resume_daemon.layouts.ranks import MOST_RANKS, missing_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from resume_daemon.layouts.base import Around
    from resume_daemon.listing import Listing

MODEL: Final = re.compile(
    r"(?:zero_pp_rank_(?P<rank>\d{1,6})_)?mp_rank_(?P<mp>\d{2,6})(?:_\d+)?_model_states\.pt",
    re.ASCII,
)
# Older versions left out the underscore.
OPTIMIZER: Final = re.compile(
    r"(?:bf16_|fp16_)?zero_pp_rank_(?P<rank>\d{1,6})_mp_rank_(?P<mp>\d{2,6})_?optim_states\.pt",
    re.ASCII,
)
EXPERT_OPTIMIZER: Final = re.compile(
    r"expp_rank_(?P<rank>\d{1,6})_mp_rank_(?P<mp>\d{2,6})_optim_states\.pt", re.ASCII
)
_EXPERT = re.compile(
    r"layer_(?P<layer>\d{1,6})_expert_(?P<expert>\d{1,6})_mp_rank_(?P<mp>\d{2,6})_model_states\.pt",
    re.ASCII,
)
_LAYER = re.compile(
    r"layer_(?P<layer>\d{2,6})(?:-model_(?P<part>\d{2,6}))?-model_states\.pt", re.ASCII
)
_OFFLOADED = re.compile(r"offloaded_tensors/rank(?P<rank>\d{2,6})/.+", re.ASCII)
_UNIVERSAL = re.compile(r"zero/(?P<parameter>.+)/fp32\.pt", re.ASCII)
_SHOWN = 8


@dataclass(frozen=True, slots=True)
class _Found:
    """The files of a tag, by what they are; ranks of model parallelism come first in keys."""

    model: dict[int, dict[int | None, str]] = field(default_factory=lambda: defaultdict(dict))
    optimizer: dict[int, dict[int, str]] = field(default_factory=lambda: defaultdict(dict))
    expert_optimizer: dict[int, dict[int, str]] = field(default_factory=lambda: defaultdict(dict))
    experts: dict[int, set[tuple[int, int]]] = field(default_factory=lambda: defaultdict(set))
    layers: dict[int, set[str]] = field(default_factory=lambda: defaultdict(set))
    offloaded: dict[int, str] = field(default_factory=dict)
    parameters: set[str] = field(default_factory=set)


def _found_in(folder: str, listing: Listing) -> _Found:
    found = _Found()
    for name in listing:
        if not name.startswith(folder):
            continue
        own = name[len(folder) :]
        if match := MODEL.fullmatch(own):
            rank = match["rank"]
            found.model[int(match["mp"])][None if rank is None else int(rank)] = name
        elif match := OPTIMIZER.fullmatch(own):
            found.optimizer[int(match["mp"])][int(match["rank"])] = name
        elif match := EXPERT_OPTIMIZER.fullmatch(own):
            found.expert_optimizer[int(match["mp"])][int(match["rank"])] = name
        elif match := _EXPERT.fullmatch(own):
            found.experts[int(match["layer"])].add((int(match["expert"]), int(match["mp"])))
        elif match := _LAYER.fullmatch(own):
            found.layers[int(match["layer"])].add(match["part"] or "")
        elif match := _OFFLOADED.fullmatch(own):
            found.offloaded[int(match["rank"])] = name
        elif match := _UNIVERSAL.fullmatch(own):
            found.parameters.add(match["parameter"])
    return found


def missing_in(folder: str, listing: Listing, around: Around) -> Iterator[Missing]:
    """Yield what a tag's directory lacks, without which the engine loads nothing.

    Args:
        folder: ``""``, or a folder's name that ends in a slash.
        listing: The checkpoint.
        around: Reads the model states, which say how many ranks there were.
    """
    found = _found_in(folder, listing)
    if not found.model:
        what = f"{folder}mp_rank_00_model_states.pt (or a shard of it from each rank)"
        yield Missing(Role.WEIGHTS, what)
        return
    state = _first(found, around)
    universal = bool(found.parameters) or f"{folder}zero/optimizer_state.pt" in listing
    if not state.node_local:
        for number in range(state.model_parallel or max(found.model) + 1):
            if number not in found.model:
                yield Missing(Role.WEIGHTS, f"{folder}{_model_name(found, number)}")
    for number in sorted(found.model.keys() | found.optimizer.keys()):
        yield from _missing_shares(folder, number, found, state, around, universal=universal)
    yield from _missing_layers(folder, found, around) if state.pipelined else ()
    yield from _missing_experts(folder, found, state)
    if state.offloaded and not state.node_local and not universal:
        ranks = range(_world(state)) if state.data_parallel else range(1)
        yield from missing_of(found.offloaded, ranks, "swapped tensors", Role.OPTIMIZER)
    if universal:
        yield from _missing_parameters(folder, found, listing, around)


def _value(name: str, around: Around) -> Any:
    try:
        return around.read(name, Format.TORCH).value
    except ResumeDaemonError:
        return None  # Its own finding says so.


def _first(found: _Found, around: Around) -> EngineState:
    """Return what the first file of model states says that can be read."""
    for files in found.model.values():
        for name in files.values():
            state = state_of(_value(name, around))
            if state.data_parallel is not None:
                return state
    return EngineState()


def _world(state: EngineState) -> int:
    return min((state.data_parallel or 1) * (state.model_parallel or 1), MOST_RANKS)


def _model_name(found: _Found, number: int) -> str:
    sharded = any(rank is not None for files in found.model.values() for rank in files)
    return f"{'zero_pp_rank_0_' if sharded else ''}mp_rank_{number:02d}_model_states.pt"


def _missing_shares(
    folder: str,
    number: int,
    found: _Found,
    state: EngineState,
    around: Around,
    *,
    universal: bool,
) -> Iterator[Missing]:
    """Yield the ranks whose model states or optimizer are not there, of one model-parallel rank."""
    model = {r: name for r, name in found.model.get(number, {}).items() if r is not None}
    optimizer = found.optimizer.get(number, {})
    if not (model or optimizer or state.partitioned):
        return
    ranks: Collection[int] = sorted(model.keys() | optimizer.keys())
    if universal:
        ranks = range(1)  # What the other ranks say is the same, and is not read.
    elif not state.node_local:
        world = state.data_parallel or max(ranks, default=0) + 1
        if model and len(optimizer) < world and optimizer:
            # With MiCS a group that is smaller than the world saves.
            shares = partition_count(_value(optimizer[min(optimizer)], around))
            world = shares or world
        ranks = range(world)
    if model:
        what = f"{folder}model states of model-parallel rank {number}"
        yield from missing_of(model, ranks, what, Role.WEIGHTS)
    if universal:
        return
    if not optimizer and state.partitioned and not state.node_local:
        name = f"{folder}zero_pp_rank_0_mp_rank_{number:02d}_optim_states.pt"
        yield Missing(Role.OPTIMIZER, f"{name} (nor that of another rank)")
    elif optimizer:
        what = f"{folder}optimizer states of model-parallel rank {number}"
        yield from missing_of(optimizer, ranks, what, Role.OPTIMIZER)


def _missing_layers(folder: str, found: _Found, around: Around) -> Iterator[Missing]:
    """Yield the layers of a pipeline whose weights are not there.

    A layer that is a mere function has no file, so a gap in the numbers says nothing; those of
    which the model states name a parameter have one.
    """
    promised: set[int] = set()
    for files in found.model.values():
        for name in files.values():
            promised |= state_of(_value(name, around)).layers
    parts = set().union(*found.layers.values()) if found.layers else {""}
    for layer in sorted(promised | found.layers.keys()) or [0]:
        for part in sorted(parts - found.layers.get(layer, set())):
            of = f"-model_{part}" if part else ""
            yield Missing(Role.WEIGHTS, f"{folder}layer_{layer:02d}{of}-model_states.pt")


def _missing_experts(folder: str, found: _Found, state: EngineState) -> Iterator[Missing]:
    """Yield the experts' files that are not there, and those of their optimizers.

    Which model-parallel ranks hold an expert depends on the groups, but it is the same in all
    layers that have as many experts. The layers of a pipeline's stages are not counted together.
    """
    if state.node_local:
        return
    for layer, count in enumerate(() if state.pipelined else state.experts):
        alike = [i for i, other in enumerate(state.experts) if other == count]
        pairs = set().union(*(found.experts.get(i, set()) for i in alike))
        held = {expert for expert, _ in pairs}
        pairs |= {(expert, 0) for expert in range(count) if expert not in held}
        for expert, number in sorted(pairs - found.experts.get(layer, set()))[:_SHOWN]:
            name = f"layer_{layer}_expert_{expert}_mp_rank_{number:02d}_model_states.pt"
            yield Missing(Role.WEIGHTS, f"{folder}{name}")
    wanted = bool(state.experts) and not state.partitioned and state.expert_ranks is not None
    for number in found.expert_optimizer or ([0] if wanted else []):
        files = found.expert_optimizer.get(number, {})
        world = state.expert_ranks or max(files) + 1
        what = f"{folder}expp_rank of model-parallel rank {number}, optimizer states of experts"
        # The experts of a model-parallel rank may be those of some groups alone.
        ranks = range(world) if len(found.expert_optimizer) <= 1 else files.keys()
        yield from missing_of(files, ranks, what, Role.OPTIMIZER)


def _missing_parameters(
    folder: str, found: _Found, listing: Listing, around: Around
) -> Iterator[Missing]:
    """Yield what a universal checkpoint lacks of the parameters that the model states name.

    A parameter without a gradient has no moments, so these are not asked for.
    """
    if f"{folder}zero/optimizer_state.pt" not in listing:
        yield Missing(Role.OPTIMIZER, f"{folder}zero/optimizer_state.pt")
    names: set[str] = set()
    for files in found.model.values():
        names |= {n for n, _ in state_of(_value(files[min(files, key=str)], around)).shapes}
    for name in sorted(names - found.parameters):
        yield Missing(Role.WEIGHTS, f"{folder}zero/{name}/fp32.pt")
