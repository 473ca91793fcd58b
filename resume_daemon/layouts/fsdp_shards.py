"""FSDP as verl and SkyRL save it: one file of each rank for model, optimizer and the rest.

Each rank pickles its own state dicts, whose tensors are DTensors (or, without a device mesh,
ShardedTensors) that hold the rank's piece. A rank loads the files that carry the world size of the
run that resumes, so a run with another number of ranks leaves its own beside the older ones.

Source: verl ``utils/checkpoint/fsdp_checkpoint_manager.py``; SkyRL
``backends/skyrl_train/distributed/fsdp_strategy.py``.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from resume_daemon.errors import ResumeDaemonError
from resume_daemon.layouts.base import RANK, WORLD, Format, Missing, Role, Rule, rule, under
from resume_daemon.layouts.ranks import missing_ranks
from resume_daemon.layouts.transformers_weights import EXPORTED, missing_shards

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resume_daemon.layouts.base import Around, Part
    from resume_daemon.listing import Listing

MODEL: Final = "model"
OPTIMIZER: Final = "optim"
EXTRA: Final = "extra_state"
CONFIGURATION: Final = "fsdp_config.json"


def shard_rules(*, needs_optimizer: bool) -> tuple[Rule, ...]:
    """Return the rules of what one model's directory holds; mount them with ``under``.

    Args:
        needs_optimizer: The trainer raises without an optimizer that it was told to save.
    """
    return (
        _of_ranks(MODEL, Role.WEIGHTS),
        _of_ranks(OPTIMIZER, Role.OPTIMIZER, needed=needs_optimizer),
        # The schedule, of plain numbers, and the random state.
        _of_ranks(EXTRA, Role.STATE, inside=(("rng", Role.RNG),)),
        # Configuration and tokenizer, and the whole model where that was asked for.
        *under("huggingface", EXPORTED),
        # The adapter once more, in peft's form.
        *under("lora_adapter", EXPORTED),
    )


def _of_ranks(of: str, role: Role, *, needed: bool = True, **more: Any) -> Rule:
    name = rf"{of}_world_size_{WORLD}_rank_{RANK}\.pt"
    return rule(name, role, Format.TORCH, of=of, needed=needed, **more)


_SHARD = re.compile(
    rf"(?P<folder>(?:[^/]+/)?)(?:model|optim|extra_state)_world_size_{WORLD}_rank_{RANK}\.pt",
    re.ASCII,
)

_RULES: Final = shard_rules(needs_optimizer=True)


def folders(listing: Listing) -> frozenset[str]:
    """Return where shards lie: ``""``, or a folder's name with its slash."""
    return frozenset(match["folder"] for name in listing if (match := _SHARD.fullmatch(name)))


def missing_in(
    folder: str, listing: Listing, around: Around, *, required: tuple[str, ...] = (MODEL,)
) -> tuple[list[Missing], list[Missing]]:
    """Return what one model's directory lacks, and what a resume does without.

    Ranks that are missing from a set that others wrote are missing; a whole set that is not there
    was not asked for, as far as this checkpoint alone tells.

    Args:
        folder: ``""``, or a folder's name that ends in a slash.
        listing: The checkpoint.
        around: Reads the configuration.
        required: Sets without which the trainer does not resume.
    """
    shards = _shards(folder, listing)
    missing: list[Missing] = []
    lost: list[Missing] = []
    world = _configured(folder, listing, around)
    if world is None:
        if f"{folder}{CONFIGURATION}" in listing:
            lost.append(
                Missing(
                    Role.OTHER,
                    f"{folder}{CONFIGURATION} (what is there does not say how many ranks there "
                    "were)",
                )
            )
        world = _world(shards, f"{folder}{MODEL}")
    own = {name: part for name, part in shards.items() if part.world == world}
    missing += missing_ranks(own, world)
    there = {part.of for part in own.values()}
    for kind in (MODEL, OPTIMIZER, EXTRA):
        if f"{folder}{kind}" in there:
            continue
        name = f"{folder}{kind}_world_size_{world}_rank_0.pt and those of all other ranks"
        if kind in required:
            missing.append(Missing(_ROLES[kind][0], name))
        else:
            lost += [Missing(role, name) for role in _ROLES[kind]]
    return missing, [*lost, *_lost_beside(folder, listing, around)]


_ROLES: Final = {
    MODEL: (Role.WEIGHTS,),
    OPTIMIZER: (Role.OPTIMIZER,),
    EXTRA: (Role.SCHEDULER, Role.RNG),
}


def _shards(folder: str, listing: Listing) -> dict[str, Part]:
    found: dict[str, Part] = {}
    for name in listing:
        if (match := _SHARD.fullmatch(name)) and match["folder"] == folder:
            base = name[len(folder) :]
            part = next(part for each in _RULES if (part := each.part_of(base)) is not None)
            found[name] = replace(part, of=f"{folder}{part.of}")
    return found


def _configured(folder: str, listing: Listing, around: Around) -> int | None:
    """Return how many ranks the configuration says there were (verl from 0.5 on, SkyRL)."""
    if f"{folder}{CONFIGURATION}" not in listing:
        return None
    try:
        document: Any = around.json(f"{folder}{CONFIGURATION}")
    except ResumeDaemonError:
        return None
    world = document.get("world_size") if isinstance(document, dict) else None
    return world if type(world) is int and 0 < world < _MOST else None


_MOST: Final = 1_000_000


def _world(shards: dict[str, Part], model: str) -> int:
    """Return how many ranks there were by the names: of several numbers one that has them all."""
    ranks: dict[int, int] = {}
    for part in shards.values():
        if part.of == model and part.world is not None:
            ranks[part.world] = ranks.get(part.world, 0) + 1
    whole = [world for world, count in ranks.items() if count >= world]
    told = [part.world for part in shards.values() if part.world is not None]
    return max(whole or told, default=1)


def _lost_beside(folder: str, listing: Listing, around: Around) -> Iterator[Missing]:
    """Yield what the export beside the shards lacks, which a resume does not read."""
    export = f"{folder}huggingface/"
    names = [name for name in listing if name.startswith(export)]
    if names and f"{export}config.json" not in listing:
        yield Missing(Role.CONFIGURATION, f"{export}config.json")
    for name in names:
        if name.endswith(".index.json") and "/" not in name[len(export) :]:
            for each in missing_shards(name, listing, around):
                yield replace(each, role=Role.OTHER)
