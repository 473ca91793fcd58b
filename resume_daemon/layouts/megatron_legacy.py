"""Megatron's ``torch`` format: a directory for each model-parallel rank, told by its numbers.

Source: Megatron-LM of August 2026 ``megatron/training/checkpointing.py``: ``get_checkpoint_name``
(``mp_rank_TT``, ``_PPP`` where there are pipeline stages, ``_EEE`` where there are expert ranks),
``save_checkpoint`` and ``load_checkpoint``, which raise where a rank's file is missing.
"""

from __future__ import annotations

import math
import re
from itertools import product
from typing import TYPE_CHECKING, Any, Final

from resume_daemon.errors import ResumeDaemonError
from resume_daemon.layouts.base import Format, Missing, Role, rule

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from resume_daemon.layouts.base import Around, Rule
    from resume_daemon.listing import Listing

STATES: Final = "model_optim_rng.pt"
OPTIMIZER: Final = "distrib_optim.pt"

_RANK = r"mp_rank_\d{2,6}(?:_\d{3,6}){0,2}"
_NAMED = re.compile(rf"mp_rank_(\d{{2,6}})((?:_\d{{3,6}}){{0,2}})/{re.escape(STATES)}", re.ASCII)
_MOST = 100_000
"""Model-parallel ranks; more are not believed."""

LEGACY: Final[tuple[Rule, ...]] = (
    rule(
        rf"{_RANK}/model_optim_rng\.pt",
        Role.STATE,
        Format.TORCH,
        inside=(
            ("model", Role.WEIGHTS),
            ("optimizer.grad_scaler", Role.SCALER),
            ("optimizer", Role.OPTIMIZER),
            ("opt_param_scheduler", Role.SCHEDULER),
            ("rng_state", Role.RNG),
        ),
    ),
    rule(rf"{_RANK}/distrib_optim\.pt", Role.OPTIMIZER, Format.TORCH),
    rule(rf"{_RANK}/layer_wise_optimizer_\d+\.pt", Role.OPTIMIZER, Format.TORCH),
    rule(rf"{_RANK}/train_dataloader_dprank\d+\.pt", Role.DATA, Format.TORCH),
)

Place = tuple[int, ...]
"""Tensor-parallel rank, and pipeline stage and expert rank where the name has them."""


def is_legacy(listing: Listing, folder: str = "") -> bool:
    """Return whether the checkpoint is in this format, as upstream tells it."""
    return any(name.startswith(f"{folder}mp_rank_") for name in listing)


def missing_legacy(folder: str, listing: Listing, around: Around) -> Iterator[Missing]:
    """Yield the ranks whose files are not there; ``folder`` is ``""`` or ends in a slash."""
    present = {
        place: name
        for name in sorted(listing)
        if name.startswith(folder) and (place := _place(name[len(folder) :])) is not None
    }
    if not present:
        yield Missing(Role.STATE, f"{folder}mp_rank_00/{STATES}")
        return
    arguments: Mapping[str, Any] = {}
    for name in present.values():
        # Any of them says how many there were; one that cannot be read has its own finding.
        if arguments := arguments_of(_value(name, around)):
            break
    for place in sorted(_expected(arguments, frozenset(present)) - present.keys()):
        yield Missing(Role.STATE, f"{folder}{_directory(place)}/{STATES}")
    yield from _missing_optimizer(present, arguments, listing, around)


def _missing_optimizer(
    present: Mapping[Place, str], arguments: Mapping[str, Any], listing: Listing, around: Around
) -> Iterator[Missing]:
    """Yield the files of the distributed optimizer that ranks with an optimizer lack."""
    files = {name: f"{name.removesuffix(STATES)}{OPTIMIZER}" for name in present.values()}
    if arguments.get("use_distributed_optimizer") is not True and not any(
        file in listing for file in files.values()
    ):
        return
    for name, file in files.items():
        # A rank whose parameters are all frozen has no optimizer, and writes none.
        if file not in listing and "optimizer" in (_value(name, around) or {}):
            yield Missing(Role.OPTIMIZER, file)


def arguments_of(value: Any) -> Mapping[str, Any]:
    """Return the arguments of the training that a state dict holds; empty where it holds none."""
    found = value.get("args") if isinstance(value, dict) else None
    state = getattr(found, "state", None)
    return state if isinstance(state, dict) else {}


def _value(name: str, around: Around) -> dict[str, Any] | None:
    try:
        value = around.read(name, Format.TORCH).value
    except ResumeDaemonError:
        return None
    return value if isinstance(value, dict) else None


def _place(name: str) -> Place | None:
    match = _NAMED.fullmatch(name)
    if match is None:
        return None
    return (int(match[1]), *(int(number) for number in match[2].split("_") if number))


def _directory(place: Place) -> str:
    return "_".join(("mp_rank", f"{place[0]:02d}", *(f"{number:03d}" for number in place[1:])))


def _expected(arguments: Mapping[str, Any], seen: frozenset[Place]) -> set[Place]:
    """Return every place that has a file, from the sizes in the arguments and those seen.

    Where experts are sharded otherwise than the rest, a tensor-parallel rank has only some of the
    expert ranks (``parallel_state.py: RankGenerator``), so that the grid has holes by design.
    """
    dimensions = max(len(place) for place in seen)
    highest = [max(p[i] for p in seen if len(p) > i) + 1 for i in range(dimensions)]
    tensor, pipeline, expert = (
        _size(arguments, f"{kind}_model_parallel_size") for kind in ("tensor", "pipeline", "expert")
    )
    sizes = [tensor, *([pipeline] if pipeline > 1 else []), *([expert] if expert > 1 else [])]
    if len(sizes) != dimensions or any(
        size < least for size, least in zip(sizes, highest, strict=True)
    ):
        # The arguments are another's, or there are none: the numbers alone have to form a grid.
        sizes = highest
        if math.prod(sizes) > _MOST:
            return set()
        return set(product(*map(range, sizes)))
    stages = range(pipeline) if pipeline > 1 else (None,)
    pairs = _pairs(arguments, tensor, pipeline, expert)
    if len(pairs) * len(stages) > _MOST:
        return set()
    return {
        (t, *(() if p is None else (p,)), *(() if expert == 1 else (e,)))
        for t, e in pairs
        for p in stages
    }


def _pairs(
    arguments: Mapping[str, Any], tensor: int, pipeline: int, expert: int
) -> set[tuple[int, int]]:
    """Return which tensor-parallel rank meets which expert rank within a pipeline stage."""
    if tensor * expert > _MOST:
        return set()
    of_experts = _size(arguments, "expert_tensor_parallel_size", tensor)
    ranks = _size(arguments, "world_size", 0) // pipeline
    if of_experts == tensor or ranks < tensor:
        return set(product(range(tensor), range(expert)))
    turn = math.lcm(tensor, of_experts * expert)
    return {(rank % tensor, rank // of_experts % expert) for rank in range(min(ranks, turn, _MOST))}


def _size(arguments: Mapping[str, Any], key: str, otherwise: int = 1) -> int:
    found = arguments.get(key)
    return found if type(found) is int and 0 < found <= _MOST * _MOST else otherwise
