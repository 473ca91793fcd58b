"""What DeepSpeed's own files say of the save: how many ranks, experts and layers there are.

Source: deepspeed 0.19 ``runtime/engine.py`` (``_common_checkpoint_state``,
``_save_moe_checkpoint``), ``runtime/zero/stage3.py: _rigid_state_dict``,
``runtime/zero/partition_parameters.py: _partition_param``, and checkpoints made with it on two
ranks.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from resume_daemon.layouts.ranks import MOST_RANKS

if TYPE_CHECKING:
    from collections.abc import Iterator

_LARGEST_SIDE: Final = 2**40
_MOST_SIDES: Final = 16
_MOST_LAYERS: Final = 100_000

_LAYER = re.compile(r"(\d{1,6})\.", re.ASCII)
"""The parameters of a pipeline's layer begin with its number (``runtime/pipe/module.py``)."""

_EXPERT_GROUP = re.compile(r"ep_size_(\d{1,6})", re.ASCII)
"""Name of the group of an expert's parameters (``moe/layer.py``)."""


@dataclass(frozen=True, slots=True)
class EngineState:
    """What one file of model states says.

    Attributes:
        data_parallel: Ranks that share out the optimizer; None where it is not said.
        model_parallel: Ranks that share out the model, by tensors and by stages of a pipeline.
        partitioned: The optimizer lies in files of each rank (ZeRO).
        shapes: Of each parameter that ZeRO shares out, by name.
        pipelined: The weights lie in a file of each layer.
        layers: Numbers of layers that certainly have parameters.
        experts: Experts of each layer of them, in files of their own.
        expert_ranks: Ranks that write an optimizer of experts; None where it is not said.
        node_local: Each node saves on a disk of its own.
        offloaded: The optimizer's moments lie in swap files.
    """

    data_parallel: int | None = None
    model_parallel: int | None = None
    partitioned: bool = False
    shapes: tuple[tuple[str, tuple[int, ...]], ...] = ()
    pipelined: bool = False
    layers: frozenset[int] = frozenset()
    experts: tuple[int, ...] = ()
    expert_ranks: int | None = None
    node_local: bool = False
    offloaded: bool = False


def state_of(value: Any) -> EngineState:
    """Return what the value of a file of model states says; nothing where it is no such value."""
    if not isinstance(value, dict):
        return EngineState()
    zero = _at(value, "ds_config", "zero_optimization")
    shapes = tuple(_shapes(value.get("param_shapes")))
    pipelined = "module" in value and value["module"] is None
    return EngineState(
        data_parallel=_count(value.get("dp_world_size")),
        model_parallel=_count(value.get("mp_world_size")),
        partitioned=value.get("param_shapes") is not None,
        shapes=shapes,
        pipelined=pipelined,
        layers=frozenset(int(match[1]) for name, _ in shapes if (match := _LAYER.match(name)))
        if pipelined
        else frozenset(),
        experts=_experts(value),
        expert_ranks=_expert_ranks(value.get("optimizer")),
        node_local=_at(value, "ds_config", "checkpoint", "use_node_local_storage") is True,
        offloaded=_at(zero, "offload_optimizer", "device") == "nvme",
    )


def partition_count(value: Any) -> int | None:
    """Return among how many ranks ZeRO-3 shares out, as a rank's file of the optimizer says.

    With MiCS a group smaller than the world does, and it alone saves.
    """
    return _count(_at(value, "optimizer_state_dict", "partition_count"))


def padding(shapes: tuple[tuple[str, tuple[int, ...]], ...], ranks: int, rank: int) -> int:
    """Return how many elements of a rank's share under ZeRO-3 belong to no parameter.

    Each parameter is cut into pieces of one length, and what is beyond its end is never written:
    it holds what the memory held before (measured: NaN with deterministic algorithms).
    """
    unused = 0
    for _, shape in shapes:
        elements = math.prod(shape)
        piece = -(-elements // ranks)
        unused += piece - max(0, min(piece, elements - rank * piece))
    return unused


def integer(value: Any, key: str) -> int | None:
    """Return a whole number of a table, not negative; None where there is none."""
    found = value.get(key) if isinstance(value, dict) else None
    return found if type(found) is int and found >= 0 else None


def _at(value: Any, *keys: str) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _count(value: Any) -> int | None:
    return value if type(value) is int and 0 < value <= MOST_RANKS else None


def _shapes(groups: Any) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield names and shapes; older versions had one table and no list of groups."""
    for group in groups if isinstance(groups, list) else [groups]:
        for name, shape in group.items() if isinstance(group, dict) else ():
            sides = tuple(shape) if isinstance(shape, (tuple, list)) else ()
            whole = all(type(side) is int and 0 <= side < _LARGEST_SIDE for side in sides)
            if isinstance(name, str) and whole and len(sides) <= _MOST_SIDES:
                yield name, sides


def _experts(value: dict[Any, Any]) -> tuple[int, ...]:
    """Return the number of experts of each layer whose experts have files of their own."""
    layers = value.get("ds_autoep_layers")
    entries = layers if isinstance(layers, list) else []
    # Of ZeRO-3 the shares of all ranks hold the experts as well.
    if any(_at(entry, "checkpoint_format") == "zero3_partitioned" for entry in entries):
        return ()
    found = value.get("num_experts")
    counts = [count for each in found if (count := _count(each))] if isinstance(found, list) else []
    return (
        tuple(counts[:_MOST_LAYERS])
        if isinstance(found, list) and len(counts) == len(found)
        else ()
    )


def _expert_ranks(optimizer: Any) -> int | None:
    groups = _at(optimizer, "param_groups") or _at(
        optimizer, "optimizer_state_dict", "param_groups"
    )
    sizes = [
        int(match[1])
        for group in (groups if isinstance(groups, list) else ())
        if (match := _EXPERT_GROUP.fullmatch(str(_at(group, "name"))))
    ]
    return max(sizes, default=None)
