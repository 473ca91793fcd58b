"""Checkpoints of OpenRLHF: DeepSpeed's, in ``_actor`` and ``_critic``, with metrics beside them.

Source: OpenRLHF ``utils/deepspeed/deepspeed.py: save_ckpt``, ``trainer/ppo_trainer.py`` (tags count
rollouts, of which each makes several steps of the optimizer), ``trainer/ray/ppo_actor.py:
save_checkpoint``. It evicts old tags before it saves; ``best_global_stepN`` is a save of its own,
and ``latest`` may name it after it is gone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from resume_daemon.layouts.base import STEP, Facts, Format, Role, name_of, rule
from resume_daemon.layouts.deepspeed import DeepSpeed, deepspeed_rules, steps_in
from resume_daemon.layouts.deepspeed_state import integer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from resume_daemon.layouts.base import Content
    from resume_daemon.listing import Listing

METRIC = "metric.json"


class OpenRlhf(DeepSpeed):
    """``global_stepN`` and ``best_global_stepN`` in ``_actor``, ``_critic`` or another run."""

    name = "openrlhf"
    facts = Facts(
        written_by="OpenRLHF, for PPO, GRPO, SFT, DPO and reward models",
        recognised="DeepSpeed's files in a directory _actor or _critic, or beside metric.json, or "
        "in best_global_stepN",
        step="N of global_stepN, which is global_step of the client state in the actor's model "
        "states; the engine's own global_steps counts more, for a rollout makes several",
        required="as DeepSpeed's",
        marker="none; latest beside it is written before other ranks have finished",
        staging="none",
        ranks="dp_world_size and mp_world_size in the model states",
        rotation="nothing; old tags go before the new one is saved, so that for a while there may "
        "be none",
        later="metric.json",
        source="OpenRLHF utils/deepspeed/deepspeed.py: save_ckpt; trainer/ppo_trainer.py",
    )
    names = (name_of(rf"(?:best_)?global_step{STEP}"),)
    rules = (*deepspeed_rules(), rule(r"metric\.json", Role.OTHER, Format.JSON))
    beats = ("deepspeed",)

    def recognises(self, listing: Listing) -> bool:
        """Return whether the files are DeepSpeed's and something shows that OpenRLHF saved them."""
        return super().recognises(listing) and (
            METRIC in listing
            or listing.name.startswith("best_")
            or listing.root.parent.name in {"_actor", "_critic"}
        )

    def recorded_steps(self, contents: Mapping[str, Content]) -> Iterator[tuple[str, int]]:
        """Yield ``global_step`` of the client state, where it is there, by which tags count."""
        for name, _ in steps_in("", contents):
            step = integer(contents[name].value, "global_step")
            if step is not None:
                yield name, step
