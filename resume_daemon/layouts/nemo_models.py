"""One model of NeMo-RL, in the forms in which its workers save it.

Source: NeMo-RL of August 2026 ``utils/checkpoint.py: get_resume_paths``,
``utils/native_checkpoint.py`` (DCP), ``models/policy/workers/megatron_policy_worker.py`` and
``models/automodel/checkpoint.py``; NeMo Automodel ``components/checkpoint/checkpointing.py`` puts
weights into ``model/`` and the optimizer into ``optim/``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from resume_daemon.layouts.base import Format, Missing, Role, rule, under
from resume_daemon.layouts.dcp import dcp_rules, missing_in
from resume_daemon.layouts.megatron_dist import INSIDE, dist_rules, holds, missing_dist
from resume_daemon.layouts.transformers_weights import EXPORTED, SIDE_FILES, missing_weights

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resume_daemon.layouts.base import Around, Rule
    from resume_daemon.listing import Listing

_MEGATRON = "weights/iter_0000000/"


def model_rules(folder: str) -> tuple[Rule, ...]:
    """Return the rules of one model, in any of the forms in which it is saved."""
    return (
        *under(f"{folder}/weights", dcp_rules(Role.WEIGHTS)),
        *under(f"{folder}/weights/model", dcp_rules(Role.WEIGHTS)),
        *under(f"{folder}/weights/iter_0000000", dist_rules(Role.STATE, INSIDE)),
        *under(f"{folder}/optimizer", dcp_rules(Role.OPTIMIZER)),
        *under(f"{folder}/optimizer/optim", dcp_rules(Role.OPTIMIZER)),
        # Each rank its own of each file of the model (Automodel _backports/hf_utils.py).
        rule(
            rf"{folder}/weights/model/shard-\d{{5}}-model-\d{{5}}-of-\d{{5}}\.safetensors",
            Role.WEIGHTS,
            Format.SAFETENSORS,
        ),
        *under(f"{folder}/weights/model", EXPORTED),
        *under(f"{folder}/weights/model/consolidated", EXPORTED),
        *under(f"{folder}/tokenizer", SIDE_FILES),
    )


def _has(folder: str, listing: Listing) -> bool:
    return any(name.startswith(folder) for name in listing)


def missing_model(folder: str, listing: Listing, around: Around) -> Iterator[Missing]:
    """Yield what one model's weights lack, in the form in which they are there."""
    model = f"{folder}weights/model/"
    if _has(megatron := f"{folder}{_MEGATRON}", listing):
        yield from missing_dist(megatron, listing, around)
    elif _has(f"{model}.metadata", listing) or _has(f"{model}__", listing):
        yield from missing_in(model, listing, around)
    elif _has(model, listing):
        yield from _missing_safetensors(model, listing, around)
    else:
        yield from missing_in(f"{folder}weights/", listing, around)


def _missing_safetensors(model: str, listing: Listing, around: Around) -> Iterator[Missing]:
    """Yield which files of the model no rank has a piece of, or what ``save_pretrained`` would."""
    names = [name for name in listing if name.startswith(model)]
    pieces = [match for name in names if (match := _PIECE.fullmatch(name, len(model)))]
    if not pieces:
        rules = under(model.rstrip("/"), EXPORTED)
        parts = {n: part for n in names for r in rules if (part := r.part_of(n)) is not None}
        yield from missing_weights(parts, listing, around)
        return
    total = max(int(match["total"]) for match in pieces)
    ranks = {int(match["rank"]) for match in pieces}
    for number in sorted({*range(1, total + 1)} - {int(match["number"]) for match in pieces}):
        yield Missing(Role.WEIGHTS, f"{model}shard-*-model-{number:05d}-of-{total:05d}.safetensors")
    for rank in sorted({*range(1, max(ranks))} - ranks):
        yield Missing(Role.WEIGHTS, f"{model}shard-{rank:05d}-model-*.safetensors")


_PIECE = re.compile(
    r"shard-(?P<rank>\d{5})-model-(?P<number>\d{5})-of-(?P<total>\d{5})\.safetensors", re.ASCII
)


def missing_optimizer(
    folder: str, listing: Listing, around: Around
) -> tuple[list[Missing], list[Missing]]:
    """Return what the optimizer that is there lacks, and the optimizer where there is none."""
    if _has(f"{folder}optimizer/optim/", listing):
        return [*missing_in(f"{folder}optimizer/optim/", listing, around)], []
    if _has(f"{folder}optimizer/", listing):
        return [*missing_in(f"{folder}optimizer/", listing, around)], []
    megatron = f"{folder}{_MEGATRON}"
    if _has(megatron, listing) and holds("optimizer", megatron, listing, around) is not False:
        return [], []
    return [], [Missing(Role.OPTIMIZER, f"{folder}optimizer")]
