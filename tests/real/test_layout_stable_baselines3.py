from __future__ import annotations

import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING, Any

import pytest

torch = pytest.importorskip("torch", reason="torch is in the environment of trainers (real)")
sb3 = pytest.importorskip("stable_baselines3", reason="stable-baselines3 is there, too")
callbacks = pytest.importorskip("stable_baselines3.common.callbacks", reason="as above")
vec_env = pytest.importorskip("stable_baselines3.common.vec_env", reason="as above")
gym = pytest.importorskip("gymnasium", reason="gymnasium comes with stable-baselines3")

from resume_daemon.findings import Severity  # noqa: E402
from resume_daemon.layouts.registry import checkpoints_in  # noqa: E402
from tests.verifying import found, told, verified  # noqa: E402

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.real

OFF_POLICY = {"learning_starts": 120, "buffer_size": 1000, "batch_size": 16}
ALGORITHMS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "ppo": ("PPO", "CartPole-v1", {"n_steps": 64, "batch_size": 32, "n_epochs": 2}),
    "ppo-sde": ("PPO", "Pendulum-v1", {"n_steps": 128, "n_epochs": 1, "use_sde": True}),
    "a2c": ("A2C", "CartPole-v1", {}),
    "sac": ("SAC", "Pendulum-v1", OFF_POLICY),
    "sac-fixed": ("SAC", "Pendulum-v1", {**OFF_POLICY, "ent_coef": 0.1}),
    "td3": ("TD3", "Pendulum-v1", OFF_POLICY),
    "dqn": ("DQN", "CartPole-v1", OFF_POLICY),
}


def train(run: Path, kind: str, *, steps: int = 300, **more: Any) -> Any:
    """Train for some steps with a checkpoint after each hundred; return the algorithm."""
    torch.set_num_threads(1)
    name, environment, options = ALGORITHMS[kind]
    env = vec_env.VecNormalize(vec_env.DummyVecEnv([lambda: gym.make(environment)]))
    algorithm = getattr(sb3, name)("MlpPolicy", env, device="cpu", seed=1, **{**options, **more})
    saving = callbacks.CheckpointCallback(
        100, str(run), save_replay_buffer=True, save_vecnormalize=True
    )
    return algorithm.learn(steps, callback=saving)


@pytest.mark.parametrize("kind", ALGORITHMS)
def test_every_checkpoint_is_sound_without_a_word(kind: str, tmp_path: Path) -> None:
    train(tmp_path, kind)
    names = checkpoints_in(tmp_path)
    assert names == [f"rl_model_{step}_steps.zip" for step in (100, 200, 300)]
    before = None
    for name in names:
        verification = verified(tmp_path / name, before=before)
        assert verification.verdict == "sound", verification.findings
        assert verification.layout == "stable-baselines3"
        assert verification.findings == ()
        assert verification.manifest is not None
        off_policy = ALGORITHMS[kind][0] not in {"PPO", "A2C"}
        assert len(verification.manifest.files) == 2 + off_policy
        assert any(
            tensor.name.startswith("policy.pth/") for tensor in verification.manifest.tensors[name]
        )
        before = tmp_path / name


SCRIPT = """
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
import stable_baselines3 as sb3
import torch
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor


class Features(BaseFeaturesExtractor):
    WIDTH: int = 8

    def __init__(self, space: Any) -> None:
        super().__init__(space, features_dim=self.WIDTH)
        self.layer = torch.nn.Linear(space.shape[0], self.WIDTH)

    @property
    def width(self) -> int:
        return self.WIDTH

    @staticmethod
    def scale() -> float:
        return float(np.sqrt(1.0))

    def forward(self, observations):
        return self.layer(observations) * self.scale()


class Schedule:
    def __call__(self, progress: float) -> float:
        return 0.001 * progress


@dataclass
class Settings:
    rate: float = 0.001

    def __call__(self, progress: float) -> float:
        return self.rate


options = {
    "function": {"learning_rate": lambda progress: 0.001 * progress},
    "object": {"learning_rate": Schedule()},
    "dataclass": {"learning_rate": Settings()},
    "class": {"policy_kwargs": {"features_extractor_class": Features}},
}
kind, path = sys.argv[1:]
sb3.PPO("MlpPolicy", "CartPole-v1", device="cpu", **options[kind]).save(path)
"""
"""What a module of its own could not stand for: classes of ``__main__`` are saved by their code."""


@pytest.mark.parametrize("kind", ["function", "object", "dataclass", "class"])
def test_what_a_script_defines_itself_is_told_and_no_alarm(kind: str, tmp_path: Path) -> None:
    script, path = tmp_path / "script.py", tmp_path / "rl_model_0_steps.zip"
    script.write_text(SCRIPT)
    subprocess.run([sys.executable, script, kind, path], check=True, timeout=120)
    verification = verified(path)
    assert verification.verdict == "sound", verification.findings
    assert {finding.severity for finding in verification.findings} == {Severity.INFO}
    assert "carries code" in found(verification, "RD137").message


def test_a_resumed_run_goes_on_with_the_same_counter(tmp_path: Path) -> None:
    train(tmp_path, "dqn")
    resumed = sb3.DQN.load(
        tmp_path / "rl_model_300_steps.zip", env=gym.make("CartPole-v1"), device="cpu"
    )
    saving = callbacks.CheckpointCallback(100, str(tmp_path), save_replay_buffer=True)
    resumed.load_replay_buffer(tmp_path / "rl_model_replay_buffer_300_steps.pkl")
    resumed.learn(100, callback=saving, reset_num_timesteps=False)
    before = tmp_path / "rl_model_300_steps.zip"
    verification = verified(tmp_path / "rl_model_400_steps.zip", before=before)
    # This callback saved no normalisation, and the one before did.
    assert told(verification) == ["RD136 warning"]


@pytest.mark.parametrize("member", ["data", "policy.pth", "policy.optimizer.pth"])
def test_what_is_called_required_is_what_the_library_raises_without(
    member: str, tmp_path: Path
) -> None:
    train(tmp_path, "ppo", steps=100)
    path = tmp_path / "rl_model_100_steps.zip"
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            if name != member:
                archive.writestr(name, content)
    with pytest.raises((ValueError, AssertionError, KeyError)):
        sb3.PPO.load(path, device="cpu")
    assert verified(path).verdict == "unsound"
