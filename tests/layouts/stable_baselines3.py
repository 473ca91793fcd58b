"""Checkpoints as stable-baselines3 2.9 writes them, in the order in which it does."""

from __future__ import annotations

import base64
import json
import zipfile
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import numpy as np

from tests import checkpoints
from tests.torch_files import Global, Instance, Reduced, pickled, torch_file

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Weights = dict[str, NDArray[np.float32]]

_FORMATS = {"float32": "f4", "float64": "f8"}


def width() -> int:
    """Return the width of the layers: that of the other layouts' models, twice."""
    return 2 * checkpoints.SHAPES["model.norm.weight"][0]


def write_ppo(run: Path, step: int) -> Path:
    """Write a checkpoint of PPO with normalised observations; return its zip."""
    wide = width()
    weights = {
        f"mlp_extractor.{net}.{layer}.weight": (wide, wide)
        for net in ("policy_net", "value_net")
        for layer in (0, 2)
    }
    policy = _weights(step, {**weights, "action_net.weight": (2, wide), "action_net.bias": (2,)})
    states = {"policy": policy, "policy.optimizer": _adam(step, policy)}
    settings = {"policy_class": Global("stable_baselines3.common.policies", "ActorCriticPolicy")}
    path = write_zip(run, step, states, data(step, gae_lambda=0.95, **settings))
    write_normalisation(run, step)
    return path


def write_sac(run: Path, step: int) -> Path:
    """Write a checkpoint of SAC with its replay buffer and normalisation; return its zip."""
    wide = width()
    actor = _weights(step, {"actor.latent_pi.0.weight": (wide, wide), "actor.mu.bias": (wide,)})
    critic = _weights(step + 1, {"critic.qf0.0.weight": (wide, wide)})
    target = {name.replace("critic", "critic_target"): array for name, array in critic.items()}
    entropy = {"log_ent_coef": np.full(1, -step / 1000, np.float32)}
    states = {
        "policy": {**actor, **critic, **target},
        "actor.optimizer": _adam(step, actor),
        "critic.optimizer": _adam(step, critic),
        "ent_coef_optimizer": _adam(step, entropy),
    }
    settings = {
        "policy_class": Global("stable_baselines3.sac.policies", "SACPolicy"),
        "train_freq": Reduced(
            Global("stable_baselines3.common.type_aliases", "TrainFrequencyUnit"), "step"
        ),
    }
    document = data(step, ent_coef="auto", target_entropy=-1.0, **settings)
    path = write_zip(run, step, states, document, variables=entropy)
    write_replay_buffer(run, step)
    write_normalisation(run, step)
    return path


BUILDERS = {"stable-baselines3-ppo": write_ppo, "stable-baselines3-sac": write_sac}


def data(step: int, **settings: Any) -> dict[str, Any]:
    """Return the algorithm's attributes; those that are no JSON are pickled."""
    space = Instance(Global("gymnasium.spaces.box", "Box"), _shape=(3,), low=_array(np.zeros(3)))
    attributes = {
        "verbose": 0,
        "num_timesteps": step,
        "_total_timesteps": 10 * step,
        "learning_rate": 0.0003,
        "observation_space": space,
        "action_space": space,
        "lr_schedule": Instance(
            Global("stable_baselines3.common.utils", "FloatSchedule"), value_schedule=0.0003
        ),
        **settings,
    }
    return {
        name: value if isinstance(value, (int, float, str)) else serialized(pickled(value, 5))
        for name, value in attributes.items()
    }


def serialized(pickle: bytes) -> dict[str, str]:
    """Return what stands in the data for something that is no JSON."""
    return {":type:": "<class 'object'>", ":serialized:": base64.b64encode(pickle).decode()}


def write_zip(
    run: Path,
    step: int,
    states: dict[str, Any],
    document: dict[str, Any],
    *,
    variables: dict[str, Any] | None = None,
    compression: int = zipfile.ZIP_STORED,
) -> Path:
    """Write ``rl_model_<step>_steps.zip``; return it."""
    run.mkdir(parents=True, exist_ok=True)
    path = run / f"rl_model_{step}_steps.zip"
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("data", json.dumps(document, indent=4))
        for name, state in {"pytorch_variables": variables or {}, **states}.items():
            with archive.open(f"{name}.pth", "w", force_zip64=True) as member:
                member.write(torch_file(state, folder="archive"))
        archive.writestr("_stable_baselines3_version", "2.9.2")
        archive.writestr("system_info.txt", "- OS: Linux\n- Python: 3.11.2\n")
    return path


def write_replay_buffer(run: Path, step: int) -> Path:
    """Write the replay buffer of a step; return it."""
    values = np.random.default_rng(step).standard_normal((2000, 1, 3)).astype(np.float32)
    buffer = Instance(
        Global("stable_baselines3.common.buffers", "ReplayBuffer"),
        buffer_size=2000,
        pos=step % 2000,
        full=step >= 2000,
        observations=_array(values),
        rewards=_array(values[:, :, 0]),
        device=Reduced(Global("torch", "device"), "cpu"),
    )
    path = run / f"rl_model_replay_buffer_{step}_steps.pkl"
    path.write_bytes(pickled(buffer, 5))
    return path


def write_normalisation(run: Path, step: int, *, training: bool = True) -> Path:
    """Write means and variances of a step; return the file."""
    kind = Global("stable_baselines3.common.running_mean_std", "RunningMeanStd")
    moments = Instance(
        kind, mean=_array(np.arange(3.0) + step), var=_array(np.ones(3)), count=float(step)
    )
    path = run / f"rl_model_vecnormalize_{step}_steps.pkl"
    normalisation = Instance(
        Global("stable_baselines3.common.vec_env.vec_normalize", "VecNormalize"),
        obs_rms=moments,
        clip_obs=10.0,
        training=training,
    )
    path.write_bytes(pickled(normalisation, 4))
    return path


def _weights(step: int, shapes: dict[str, tuple[int, ...]]) -> Weights:
    random = np.random.default_rng(step)
    return {
        name: random.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()
    }


def _adam(step: int, weights: Weights) -> dict[str, Any]:
    """Return the optimizer's state after some of its own steps, which are not the trainer's."""
    state = {
        number: OrderedDict(
            step=np.array(step // 64 + 1, np.float32),
            exp_avg=array / 100,
            exp_avg_sq=np.square(array) / 100,
        )
        for number, array in enumerate(weights.values())
    }
    return {"state": state, "param_groups": [{"lr": 0.0003, "params": list(state)}]}


def _array(array: NDArray[Any]) -> Reduced:
    """Return what numpy pickles an array as at protocol 5, if it holds its own bytes."""
    kind = Global("numpy", "dtype")
    dtype = Reduced(
        kind, _FORMATS[array.dtype.name], False, True, state=(3, "<", None, None, None, -1, -1, 0)
    )
    content = bytearray(array.tobytes())
    return Reduced(Global("numpy._core.numeric", "_frombuffer"), content, dtype, array.shape, "C")
