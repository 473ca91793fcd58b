"""Checkpoints of NeMo-RL: ``step_N``, renamed from ``tmp_step_N`` when all of it is written.

Source: NeMo-RL of August 2026 ``nemo_rl/utils/checkpoint.py`` (staging, rename, the search for an
optimizer), ``utils/native_checkpoint.py`` and ``models/automodel/checkpoint.py`` (weights),
``algorithms/grpo.py`` (what lies beside them), ``data/utils.py`` (``train_dataloader.pt`` is loaded
without a look whether it is there). NeMo Automodel ``components/checkpoint/checkpointing.py`` puts
weights into ``model/`` and the optimizer into ``optim/``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from resume_daemon.errors import ResumeDaemonError
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
    under,
)
from resume_daemon.layouts.dcp import dcp_rules, missing_in
from resume_daemon.layouts.huggingface import EXPORTED, SIDE_FILES, missing_weights
from resume_daemon.layouts.megatron_dist import INSIDE, dist_rules, holds, missing_dist

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from resume_daemon.layouts.base import Around, Content, Rule
    from resume_daemon.listing import Listing

INFO: Final = "training_info.json"

_MEGATRON = "weights/iter_0000000/"


def _model(folder: str) -> tuple[Rule, ...]:
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


class NemoRl(Layout):
    """``step_N/{policy,value}`` with ``training_info.json`` and the position in the data."""

    name = "nemo-rl"
    facts = Facts(
        written_by="NeMo-RL with DTensor, Automodel or Megatron workers",
        recognised="training_info.json, or weights in policy/weights/",
        step="N of step_N, which is total_steps of training_info.json where that counts",
        required="training_info.json; policy/weights (and value/weights, where value/ is there) as "
        "DCP, safetensors or Megatron's iter_0000000; train_dataloader.pt",
        marker="the name: tmp_step_N becomes step_N when all of it is written",
        staging="tmp_step_N; old_step_N for a moment, while it is replaced",
        ranks="the shards that .metadata names",
        rotation="nothing: the whole directory goes",
        later="nothing",
        source="NeMo-RL nemo_rl/utils/checkpoint.py, nemo_rl/algorithms/grpo.py, "
        "nemo_rl/models/automodel/checkpoint.py",
    )
    names = (name_of(rf"step_{STEP}"),)
    staging = (name_of(r"(?:tmp|old)_step_\d+"),)
    distinctive = False
    one_step_each = False
    rules = (
        *_model("policy"),
        *_model("value"),
        rule(re.escape(INFO), Role.STATE, Format.JSON),
        rule(r"train_dataloader(?:_[^/]+)?\.pt", Role.DATA, Format.TORCH),
        rule(r"(?:replay_buffer|rollouts|replacement_reserve)\.pt", Role.DATA, Format.TORCH),
    )

    def recognises(self, listing: Listing) -> bool:
        """Return whether the training's own record is there, or a policy's weights."""
        return INFO in listing or any(name.startswith("policy/weights/") for name in listing)

    def completeness(self, listing: Listing, around: Around) -> Completeness:
        """Return whether all that a resume loads is there; nothing more will come."""
        missing: list[Missing] = []
        lost: list[Missing] = []
        if INFO not in listing:
            missing.append(Missing(Role.STATE, INFO))
        elif _is_no_record(around):
            missing.append(Missing(Role.STATE, f"{INFO} (what is there is no object)"))
        if not any(name.startswith("train_dataloader") for name in listing):
            missing.append(Missing(Role.DATA, "train_dataloader.pt"))
        value = any(name.startswith("value/") for name in listing)
        for folder in ("policy/", *(("value/",) if value else ())):
            missing += _missing_weights(folder, listing, around)
            without, less = _missing_optimizer(folder, listing, around)
            missing += without
            lost += less
        return Completeness(tuple(missing), saved=True, lost=tuple(lost))

    def recorded_steps(self, contents: Mapping[str, Content]) -> Iterator[tuple[str, int]]:
        """Yield the step of the training's record.

        ``current_step`` starts again with each epoch, except in asynchronous GRPO, which never sets
        ``total_steps``: the larger is the step.
        """
        info = contents[INFO].value if INFO in contents else None
        if isinstance(info, dict):
            steps = [info.get(key) for key in ("total_steps", "current_step")]
            counted = [step for step in steps if type(step) is int]
            if counted:
                yield INFO, max(counted)


def _is_no_record(around: Around) -> bool:
    try:
        return not isinstance(around.json(INFO), dict)
    except ResumeDaemonError:
        return False  # Its own finding says that it cannot be read.


def _has(folder: str, listing: Listing) -> bool:
    return any(name.startswith(folder) for name in listing)


def _missing_weights(folder: str, listing: Listing, around: Around) -> Iterator[Missing]:
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
    pieces = [match for name in listing if (match := _PIECE.fullmatch(name, len(model)))]
    pieces = [match for match in pieces if match.string.startswith(model)]
    if not pieces:
        parts = {name: NemoRl().part_of(name) for name in listing if name.startswith(model)}
        yield from missing_weights(parts, listing, around)
        return
    total = max(int(match["total"]) for match in pieces)
    ranks = {int(match["rank"]) for match in pieces}
    for number in sorted({*range(1, total + 1)} - {int(match["number"]) for match in pieces}):
        yield Missing(Role.WEIGHTS, f"{model}shard-*-model-{number:05d}-of-{total:05d}.safetensors")
    for rank in sorted({*range(min(ranks), max(ranks))} - ranks):
        yield Missing(Role.WEIGHTS, f"{model}shard-{rank:05d}-model-*.safetensors")


_PIECE = re.compile(
    r"shard-(?P<rank>\d{5})-model-(?P<number>\d{5})-of-(?P<total>\d{5})\.safetensors", re.ASCII
)


def _missing_optimizer(
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
