from __future__ import annotations

import json
import pickle
import shutil
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from typer.testing import CliRunner

from resume_daemon.cli import app
from resume_daemon.errors import BeyondBoundsError
from resume_daemon.formats import registry as formats
from resume_daemon.formats.content import Format
from resume_daemon.layouts.registry import checkpoints_in, list_checkpoint, step_of
from resume_daemon.layouts.stable_baselines3 import StableBaselines3
from tests.layouts.stable_baselines3 import (
    BUILDERS,
    data,
    serialized,
    write_normalisation,
    write_ppo,
    write_sac,
    write_zip,
)
from tests.torch_files import Global, Reduced, pickled
from tests.verifying import found, told, verified

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

STEP = 2048


def rewritten(path: Path, change: Callable[[dict[str, bytes]], None]) -> Path:
    """Write an archive again with other members; return it."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def without(path: Path, *names: str) -> Path:
    def change(members: dict[str, bytes]) -> None:
        for name in names:
            del members[name]

    return rewritten(path, change)


def with_data(path: Path, **changes: Any) -> Path:
    def change(members: dict[str, bytes]) -> None:
        document = {**json.loads(members["data"]), **changes}
        members["data"] = json.dumps({k: v for k, v in document.items() if v is not None}).encode()

    return rewritten(path, change)


@pytest.mark.parametrize("name", BUILDERS)
def test_healthy_checkpoints_are_sound_one_after_another(name: str, tmp_path: Path) -> None:
    before = None
    for step in (STEP, 2 * STEP, 3 * STEP):
        checkpoint = BUILDERS[name](tmp_path, step)
        verification = verified(checkpoint, before=before)
        assert (verification.verdict, verification.layout) == ("sound", "stable-baselines3")
        assert verification.step == step
        assert verification.findings == ()
        before = checkpoint


def test_a_run_holds_zips_and_nothing_that_stands_beside_them(tmp_path: Path) -> None:
    write_sac(tmp_path, 200)
    write_sac(tmp_path, 1000)
    (tmp_path / "final_model.zip").write_bytes(b"")
    names = ["rl_model_200_steps.zip", "rl_model_1000_steps.zip"]
    assert checkpoints_in(tmp_path) == names
    assert [step_of(name) for name in names] == [200, 1000]
    assert step_of("rl_model_replay_buffer_200_steps.pkl") is None


def test_what_belongs_to_a_zip_is_listed_with_it_and_no_more(tmp_path: Path) -> None:
    path = write_sac(tmp_path, 200)
    write_sac(tmp_path, 1000)
    buffer = "rl_model_replay_buffer_200_steps.pkl"
    normalisation = "rl_model_vecnormalize_200_steps.pkl"
    assert set(list_checkpoint(path, boundary=tmp_path)) == {path.name, buffer, normalisation}
    # The one that comes later is found without the one before it.
    (tmp_path / buffer).unlink()
    assert set(list_checkpoint(path, boundary=tmp_path)) == {path.name, normalisation}


def test_the_command_takes_the_zip_and_the_run(tmp_path: Path) -> None:
    path = write_sac(tmp_path, 100)
    write_sac(tmp_path, 200)
    for argument, names in [(path, [path.name]), (tmp_path, checkpoints_in(tmp_path))]:
        result = CliRunner().invoke(app, ["verify", str(argument), "--json"])
        assert result.exit_code == 0, result.output
        document = json.loads(result.stdout)
        assert [each["path"].rpartition("/")[2] for each in document["checkpoints"]] == names
        assert {each["verdict"] for each in document["checkpoints"]} == {"sound"}


def test_a_zip_that_was_cut_short_is_incomplete_until_something_follows_it(
    tmp_path: Path,
) -> None:
    path = write_ppo(tmp_path, STEP)
    path.write_bytes(path.read_bytes()[:-1])
    assert verified(path).verdict == "unsound"
    for other in tmp_path.glob("*.pkl"):
        other.unlink()
    verification = verified(path)
    assert verification.verdict == "incomplete"
    assert "the zip's directory at its end" in found(verification, "RD101").message


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("data", "RD116"),
        ("policy.pth", "RD101"),
        ("actor.optimizer.pth", "RD116"),
        ("critic.optimizer.pth", "RD116"),
        ("ent_coef_optimizer.pth", "RD116"),
    ],
)
def test_a_member_that_a_load_asks_for_is_missed(name: str, code: str, tmp_path: Path) -> None:
    verification = verified(without(write_sac(tmp_path, STEP), name))
    assert verification.verdict == "unsound"
    assert name in found(verification, code).message


def test_actor_and_critic_are_missed_even_where_neither_optimizer_is_there(tmp_path: Path) -> None:
    path = without(write_sac(tmp_path, STEP), "actor.optimizer.pth", "critic.optimizer.pth")
    assert told(verified(path)) == ["RD116 error", "RD116 error"]


def test_an_optimizer_without_a_network_of_its_own_is_missed(tmp_path: Path) -> None:
    verification = verified(without(write_ppo(tmp_path, STEP), "policy.optimizer.pth"))
    assert told(verification) == ["RD116 error"]


def test_an_algorithm_without_gradients_has_no_optimizer(tmp_path: Path) -> None:
    path = without(write_ppo(tmp_path, STEP), "policy.optimizer.pth")
    assert verified(with_data(path, gae_lambda=None, n_delta=8)).findings == ()


def test_members_that_nothing_reads_may_be_missing(tmp_path: Path) -> None:
    path = without(write_ppo(tmp_path, STEP), "system_info.txt", "_stable_baselines3_version")
    assert verified(path).findings == ()


def test_a_fixed_coefficient_of_entropy_has_no_optimizer(tmp_path: Path) -> None:
    path = without(write_sac(tmp_path, STEP), "ent_coef_optimizer.pth")
    assert verified(with_data(path, ent_coef=0.1)).findings == ()


@pytest.mark.parametrize("key", ["policy_class", "observation_space", "action_space"])
def test_data_without_what_a_load_asks_for_is_unsound(key: str, tmp_path: Path) -> None:
    verification = verified(with_data(write_ppo(tmp_path, STEP), **{key: None}))
    assert verification.verdict == "unsound"
    assert key in found(verification, "RD116").message


def test_the_step_that_was_recorded_is_the_one_in_the_data(tmp_path: Path) -> None:
    path = with_data(write_ppo(tmp_path, STEP), num_timesteps=STEP - 8)
    contents = {path.name: formats.read(path, Format.ZIP)}
    assert list(StableBaselines3().recorded_steps(contents)) == [(path.name, STEP - 8)]
    assert told(verified(path)) == ["RD410 error"]


def test_values_are_judged_by_the_member_that_they_lie_in(tmp_path: Path) -> None:
    weights = np.ones((128, 128), np.float32)
    states = {
        "policy": {"w": weights},
        "policy.optimizer": {"state": {0: {"exp_avg": np.full(5000, np.nan, np.float32)}}},
    }
    settings = {"policy_class": Global("stable_baselines3.common.policies", "ActorCriticPolicy")}
    verification = verified(write_zip(tmp_path, STEP, states, data(STEP, **settings)))
    assert told(verification) == ["RD311 error"]
    weights[0, 0] = np.inf
    verification = verified(write_zip(tmp_path, STEP, states, data(STEP, **settings)))
    assert told(verification) == ["RD211 error", "RD311 error"]


def test_a_flipped_bit_shows_in_the_checksum_of_its_member(tmp_path: Path) -> None:
    path = write_ppo(tmp_path, STEP)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    verification = verified(path)
    assert verification.verdict == "unsound"
    assert "1 of 6 records" in found(verification, "RD303").message


def test_an_archive_that_somebody_compressed_is_still_sound(tmp_path: Path) -> None:
    path = write_ppo(tmp_path, STEP)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    assert verified(path).verdict == "sound"


def test_a_function_that_is_carried_as_code_is_told_and_no_alarm(tmp_path: Path) -> None:
    # What cloudpickle 3.1 writes for ``lambda progress: 3e-4 * progress``, in short.
    module = "cloudpickle.cloudpickle"
    code = Reduced(Global(module, "_builtin_type"), "CodeType")
    function = Reduced(Global(module, "_make_function"), code, None, None, None, None)
    path = with_data(
        write_ppo(tmp_path, STEP),
        lr_schedule=serialized(pickled(function, 5)),
    )
    verification = verified(path)
    assert told(verification) == ["RD137 info"]
    assert verification.verdict == "sound"


def test_an_object_of_a_class_that_is_carried_is_no_alarm_either(tmp_path: Path) -> None:
    module = "cloudpickle.cloudpickle"
    # _make_skeleton_class(type, name, bases, attributes, identity, nothing), then an object of it.
    made = f"c{module}\n_make_skeleton_class\n(cbuiltins\ntype\nVSchedule\n)}}VX\nNtR)\x81."
    path = with_data(
        write_ppo(tmp_path, STEP), lr_schedule=serialized(b"\x80\x04" + made.encode("latin-1"))
    )
    verification = verified(path)
    assert told(verification) == ["RD137 info"]
    # Calling what was made is another thing: that runs it.
    called = made[:-3] + ")R."
    path = with_data(path, lr_schedule=serialized(b"\x80\x04" + called.encode("latin-1")))
    assert told(verified(path)) == ["RD137 info", "RD305 error"]


def test_a_command_in_the_data_is_dangerous(tmp_path: Path) -> None:
    hostile = serialized(pickled(Reduced(Global("posix", "system"), "true"), 5))
    verification = verified(with_data(write_ppo(tmp_path, STEP), clip_range=hostile))
    assert told(verification) == ["RD306 error"]


def test_carried_code_in_a_file_that_has_no_need_of_it_stays_dangerous(tmp_path: Path) -> None:
    path = write_sac(tmp_path, STEP)
    buffer = tmp_path / f"rl_model_replay_buffer_{STEP}_steps.pkl"
    function = Reduced(Global("cloudpickle.cloudpickle", "_make_function"), None)
    buffer.write_bytes(pickled(function, 5))
    assert told(verified(path)) == ["RD306 error"]


@pytest.mark.parametrize("kind", ["replay_buffer", "vecnormalize"])
def test_a_damaged_companion_is_unsound_for_its_own_load_raises(kind: str, tmp_path: Path) -> None:
    path = write_sac(tmp_path, STEP)
    companion = tmp_path / f"rl_model_{kind}_{STEP}_steps.pkl"
    companion.write_bytes(companion.read_bytes()[:-1])
    assert told(verified(path)) == ["RD301 error"]


@pytest.mark.parametrize("kind", ["replay_buffer", "vecnormalize"])
def test_a_companion_that_the_checkpoint_before_had_is_missed(kind: str, tmp_path: Path) -> None:
    before, path = write_sac(tmp_path, 100), write_sac(tmp_path, 200)
    companion = tmp_path / f"rl_model_{kind}_200_steps.pkl"
    companion.unlink()
    verification = verified(path, before=before)
    assert told(verification) == ["RD136 warning"]
    assert verification.verdict == "degraded"
    assert found(verification, "RD136").file == companion.name
    # Alone, nothing says that there should be one.
    assert verified(path).findings == ()


def test_companions_of_another_prefix_are_not_expected(tmp_path: Path) -> None:
    before, path = write_sac(tmp_path, 100), write_ppo(tmp_path / "other", 200)
    moved = tmp_path / "best_model_200_steps.zip"
    shutil.copy(path, moved)
    assert verified(moved, before=before).findings == ()


def test_statistics_that_are_only_applied_may_stay_as_they_are(tmp_path: Path) -> None:
    before, path = write_ppo(tmp_path, 100), write_ppo(tmp_path, 200)
    applied = write_normalisation(tmp_path, 100, training=False)
    shutil.copy(applied, tmp_path / "rl_model_vecnormalize_200_steps.pkl")
    assert verified(path, before=before).findings == ()


@pytest.mark.parametrize("kind", ["replay_buffer", "vecnormalize"])
def test_a_companion_of_another_step_is_told(kind: str, tmp_path: Path) -> None:
    before, path = write_sac(tmp_path, 100), write_sac(tmp_path, 200)
    names = [f"rl_model_{kind}_{step}_steps.pkl" for step in (100, 200)]
    shutil.copy(tmp_path / names[0], tmp_path / names[1])
    verification = verified(path, before=before)
    assert told(verification) == ["RD136 warning"]
    assert "byte for byte that of rl_model_100_steps.zip" in verification.findings[0].message


def test_a_buffer_beyond_a_bound_is_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_sac(tmp_path, STEP)
    buffer = tmp_path / f"rl_model_replay_buffer_{STEP}_steps.pkl"
    buffer.write_bytes(pickle.dumps(list(range(100))))
    real = formats.READERS[Format.TORCH]

    def read(file: Path) -> Any:
        if file == buffer:
            raise BeyondBoundsError("read the pickle in", file, "it has more than 7 instructions")
        return real(file)

    monkeypatch.setattr(formats, "READERS", {**formats.READERS, Format.TORCH: read})
    verification = verified(path)
    assert told(verification) == ["RD114 warning"]
    assert verification.verdict == "degraded"
