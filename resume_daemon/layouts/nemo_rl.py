"""Checkpoints of NeMo-RL: ``step_N``, renamed from ``tmp_step_N`` when all of it is written.

Source: NeMo-RL of August 2026 ``nemo_rl/utils/checkpoint.py`` (staging and rename),
``algorithms/grpo.py`` (what lies beside the models) and ``data/utils.py`` (``train_dataloader.pt``
is loaded without a look whether it is there).
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
)
from resume_daemon.layouts.nemo_models import missing_model, missing_optimizer, model_rules

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from resume_daemon.layouts.base import Around, Content
    from resume_daemon.listing import Listing

INFO: Final = "training_info.json"


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
    rules = (
        *model_rules("policy"),
        *model_rules("value"),
        rule(re.escape(INFO), Role.STATE, Format.JSON),
        rule(r"config\.yaml", Role.OTHER, Format.YAML),
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
            missing += missing_model(folder, listing, around)
            without, less = missing_optimizer(folder, listing, around)
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
