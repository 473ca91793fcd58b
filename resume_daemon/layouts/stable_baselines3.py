"""Checkpoints of stable-baselines3: a zip for each, with the replay buffer and others beside it.

Source: stable-baselines3 2.9 ``common/callbacks.py: CheckpointCallback`` (zip, replay buffer,
normalisation, in this order, all in place), ``common/save_util.py`` and ``common/base_class.py:
load, set_parameters`` (it raises where the data or a state dict of the algorithm is missing).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from resume_daemon.layouts.base import Around, Content
    from resume_daemon.listing import Listing

DATA = "data"
WEIGHTS = "policy.pth"
VERSION = "_stable_baselines3_version"

_INSIDE = (
    # Of SAC, TD3 and TQC: one optimizer for each network, and one for the entropy's coefficient.
    *(
        (f"{name}.pth/", Role.OPTIMIZER)
        for name in (
            "policy.optimizer",
            "actor.optimizer",
            "critic.optimizer",
            "ent_coef_optimizer",
        )
    ),
    ("policy.pth/", Role.WEIGHTS),
    # The coefficient itself; tensors.pth before 0.9.
    ("pytorch_variables.pth/", Role.WEIGHTS),
    ("tensors.pth/", Role.WEIGHTS),
)
_KEYS = frozenset({"policy_class", "observation_space", "action_space"})
_ONE_OPTIMIZER = frozenset({"gae_lambda", "exploration_fraction"})
"""Settings of algorithms with one optimizer: those on policy, and DQN with its relatives."""

_TWO_OPTIMIZERS = frozenset({"target_entropy", "policy_delay"})
"""Settings of algorithms with an actor and a critic: SAC, TD3 and their relatives."""

_ACTOR_CRITIC = frozenset({"actor.optimizer.pth", "critic.optimizer.pth"})
_NAME = re.compile(rf"(?P<prefix>.+)_{STEP}_steps\.zip", re.ASCII)


class StableBaselines3(Layout):
    """``<prefix>_N_steps.zip`` in the directory that the callback was given."""

    name = "stable-baselines3"
    facts = Facts(
        written_by="stable-baselines3 CheckpointCallback, and with it sb3-contrib and RL Zoo",
        recognised="the name <prefix>_N_steps.zip",
        step="N of the name, which is num_timesteps of the member data: steps of the environment",
        required="the members data, policy.pth and the state of each optimizer; a replay buffer "
        "(<prefix>_replay_buffer_N_steps.pkl) and normalisation statistics "
        "(<prefix>_vecnormalize_N_steps.pkl) where the checkpoint before had them",
        marker="none; the directory at the end of the zip is written last",
        staging="none: all three files are written in place",
        ranks="none",
        rotation="nothing: the trainer removes none",
        later="nothing",
        source="stable-baselines3 2.9 common/callbacks.py: CheckpointCallback; "
        "common/save_util.py; common/base_class.py: load, set_parameters",
    )
    files = (name_of(_NAME.pattern),)
    rules = (
        rule(r".+_replay_buffer_\d+_steps\.pkl", Role.DATA, Format.TORCH),
        # Means and variances by which observations and rewards are scaled.
        rule(r".+_vecnormalize_\d+_steps\.pkl", Role.STATE, Format.TORCH),
        rule(r".+_\d+_steps\.zip", Role.STATE, Format.ZIP, inside=_INSIDE),
    )

    def companions(self, name: str) -> Iterator[str]:
        """Yield the replay buffer and the normalisation statistics of the same step."""
        if match := _NAME.fullmatch(name):
            prefix, step = match["prefix"], match["step"]
            yield f"{prefix}_replay_buffer_{step}_steps.pkl"
            yield f"{prefix}_vecnormalize_{step}_steps.pkl"

    def recognises(self, listing: Listing) -> bool:
        """Return whether it is such a file."""
        return listing.file is not None and _NAME.fullmatch(listing.file) is not None

    def completeness(self, listing: Listing, around: Around) -> Completeness:
        """Return whether the zip has its directory, and the members that a load asks for.

        Nothing says whether the callback was to save a companion; the check of companions holds
        them against the checkpoint before.
        """
        # What follows the zip is begun when the zip has ended.
        followed = len(listing.entries) > 1
        try:
            members = around.read(listing.name, Format.ZIP).value
        except ResumeDaemonError as error:
            what = f"{listing.name} (as a whole archive: {error.reason})"
            return Completeness((Missing(Role.WEIGHTS, what),), saved=followed)
        missing = tuple(_missing_members(members))
        return Completeness(missing, saved=followed or VERSION in members)

    def recorded_steps(self, contents: Mapping[str, Content]) -> Iterator[tuple[str, int]]:
        """Yield the zip with ``num_timesteps`` of its data."""
        for name, content in contents.items():
            data = content.value.get(DATA) if isinstance(content.value, dict) else None
            step = data.get("num_timesteps") if isinstance(data, dict) else None
            if type(step) is int:
                yield name, step


def _missing_members(members: Mapping[str, Any]) -> Iterator[Missing]:
    """Yield what a load asks for and the archive lacks."""
    data = members.get(DATA)
    if not isinstance(data, dict):
        yield Missing(Role.OTHER, "the member data, of the algorithm's settings")
        data = {}
    else:
        for key in _KEYS - data.keys():
            yield Missing(Role.OTHER, f"{key} in the member data")
    if WEIGHTS not in members:
        yield Missing(Role.WEIGHTS, f"{WEIGHTS} in the archive")
    # Algorithms without gradients (ARS of sb3-contrib) have no optimizer at all.
    optimizers = {"policy.optimizer.pth"} if data.keys() & _ONE_OPTIMIZER else set()
    if members.keys() & _ACTOR_CRITIC or data.keys() & _TWO_OPTIMIZERS:
        optimizers = set(_ACTOR_CRITIC)
        if str(data.get("ent_coef")).startswith("auto"):
            optimizers.add("ent_coef_optimizer.pth")
    for name in sorted(optimizers - members.keys()):
        yield Missing(Role.OPTIMIZER, f"{name} in the archive")
