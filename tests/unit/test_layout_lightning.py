from __future__ import annotations

import json
import os
import pickle
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from typer.testing import CliRunner

from resume_daemon.cli import app
from resume_daemon.layouts.lightning import Lightning
from resume_daemon.layouts.registry import checkpoints_in, is_checkpoint_name
from tests.checkpoints import optimizer_at, weights_at
from tests.layouts.lightning import name_at, state_at, write_deepspeed, write_file, write_fsdp
from tests.torch_files import write_torch_file
from tests.verifying import found, told, verified

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LAYOUT = Lightning()


def whole(step: int, **changes: Any) -> dict[str, Any]:
    """Return everything that a single file holds."""
    return {
        **state_at(step),
        "state_dict": dict(weights_at(step)),
        "optimizer_states": [optimizer_at(step)],
        **changes,
    }


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("epoch=3-step=400.ckpt", 400),
        ("epoch=3-step=400-v2.ckpt", 400),
        ("step=7.ckpt", 7),
        ("run-step=7-val_loss=0.12.ckpt", 7),
        ("epoch=3-val_loss=0.12.ckpt", 0),
        ("epoch=003.ckpt", 0),
        ("last.ckpt", 0),
        ("last-v1.ckpt", 0),
        ("hpc_ckpt_3.ckpt", 0),
        ("model.ckpt", None),
        ("footstep=7.ckpt", None),
        ("blast.ckpt", None),
        ("epoch=3-step=400.ckpt.tmp", None),
    ],
)
def test_its_names_are_known_with_the_number_that_orders_them(
    name: str, number: int | None
) -> None:
    assert LAYOUT.step_of(name) == number
    assert is_checkpoint_name(name) is (number is not None)


@pytest.mark.parametrize("build", [write_file, write_fsdp, write_deepspeed])
def test_healthy_checkpoints_are_sound_without_a_word(
    tmp_path: Path, build: Callable[[Path, int], Path]
) -> None:
    before = build(tmp_path, 10)
    verification = verified(build(tmp_path, 20), before=before)

    assert (verification.layout, verification.step) == ("lightning", 20)
    assert (verification.verdict, told(verification)) == ("sound", [])


@pytest.mark.parametrize("name", ["last.ckpt", "hpc_ckpt_3.ckpt", "epoch=2-loss=0.1.ckpt"])
def test_the_step_of_a_name_without_one_lies_inside(tmp_path: Path, name: str) -> None:
    write_torch_file(tmp_path / name, whole(20))
    verification = verified(tmp_path / name)

    assert (verification.step, verification.verdict) == (20, "sound")
    assert verification.manifest is not None
    assert verification.manifest.step == 20


@pytest.mark.parametrize(
    "key", ["pytorch-lightning_version", "state_dict", "optimizer_states", "lr_schedulers"]
)
def test_without_a_part_that_fit_raises_without_it_is_unsound(tmp_path: Path, key: str) -> None:
    value = whole(10)
    del value[key]
    write_torch_file(tmp_path / name_at(10), value)
    verification = verified(tmp_path / name_at(10))

    assert verification.verdict == "unsound"
    assert any(key in finding.message for finding in verification.findings)


def test_the_model_alone_cannot_be_resumed_from(tmp_path: Path) -> None:
    value = whole(10)
    for key in ("optimizer_states", "lr_schedulers", "callbacks"):
        del value[key]
    write_torch_file(tmp_path / name_at(10), value)
    verification = verified(tmp_path / name_at(10))

    assert verification.verdict == "unsound"
    assert "only the model was saved" in verification.findings[0].message


@pytest.mark.parametrize("key", ["loops", "callbacks", "global_step"])
def test_what_fit_resumes_without_is_lost(tmp_path: Path, key: str) -> None:
    value = whole(10)
    del value[key]
    write_torch_file(tmp_path / name_at(10), value)
    verification = verified(tmp_path / name_at(10))

    assert (verification.verdict, told(verification)) == ("degraded", ["RD118 warning"])


def test_a_file_of_another_program_is_no_alarm_and_not_sound(tmp_path: Path) -> None:
    write_torch_file(tmp_path / "last.ckpt", {"net": dict(weights_at(1)), "best": 0.5})
    verification = verified(tmp_path / "last.ckpt")

    assert verification.verdict == "degraded"
    assert "did not write it" in found(verification, "RD118").message


@pytest.mark.parametrize("kept", [0, 1, 3000, -1])
def test_a_file_without_its_end_is_incomplete(tmp_path: Path, kept: int) -> None:
    path = write_file(tmp_path, 10)
    path.write_bytes(path.read_bytes()[:kept])

    assert verified(path).verdict in ({"unsound"} if kept == 1 else {"incomplete"})


def test_a_directory_is_complete_with_meta_pt(tmp_path: Path) -> None:
    checkpoint = write_fsdp(tmp_path, 10)
    (checkpoint / "__1_0.distcp").unlink()
    assert verified(checkpoint).verdict == "unsound"
    meta = checkpoint / "meta.pt"
    meta.write_bytes(meta.read_bytes()[:-1])
    assert verified(checkpoint).verdict == "incomplete"
    meta.unlink()
    assert verified(checkpoint).verdict == "incomplete"


def test_a_directory_whose_meta_pt_lacks_the_schedule_is_unsound(tmp_path: Path) -> None:
    checkpoint = write_fsdp(tmp_path, 10)
    state = state_at(10)
    del state["lr_schedulers"]
    write_torch_file(checkpoint / "meta.pt", state)

    assert told(verified(checkpoint)) == ["RD116 error"]


def test_infinite_scores_are_none_of_the_weights(tmp_path: Path) -> None:
    weights = dict(weights_at(10))
    write_torch_file(tmp_path / name_at(10), whole(10, state_dict=weights))
    assert verified(tmp_path / name_at(10)).verdict == "sound"
    weights["model.norm.weight"][3] = np.inf
    write_torch_file(tmp_path / name_at(10), whole(10, state_dict=weights))
    assert told(verified(tmp_path / name_at(10))) == ["RD211 error"]


def test_callbacks_may_keep_more_than_before(tmp_path: Path) -> None:
    before = write_file(tmp_path, 10)
    scores = {"Saving": {"best": {"a.ckpt": np.array(0.5, np.float32)}}}
    write_torch_file(tmp_path / name_at(20), whole(20, callbacks=scores))

    assert verified(tmp_path / name_at(20), before=before).verdict == "sound"


def test_weights_of_another_shape_than_before_are_unsound(tmp_path: Path) -> None:
    before = write_file(tmp_path, 10)
    weights = {name: array[..., :32] for name, array in weights_at(20).items()}
    write_torch_file(tmp_path / name_at(20), whole(20, state_dict=weights))

    assert "RD412 error" in told(verified(tmp_path / name_at(20), before=before))


def test_another_file_under_its_name_is_told(tmp_path: Path) -> None:
    before = write_file(tmp_path, 10)
    path = write_file(tmp_path, 20)
    path.write_bytes(before.read_bytes())
    verification = verified(path, before=before)

    assert (verification.step, verification.verdict) == (10, "degraded")
    assert "epoch 1 and step 10" in found(verification, "RD135").message


def test_a_metric_that_the_module_logs_as_step_is_no_alarm(tmp_path: Path) -> None:
    path = tmp_path / "epoch=1-step=3.ckpt"
    write_torch_file(path, whole(10))
    verification = verified(path)

    assert (verification.step, verification.verdict) == (10, "sound")
    assert told(verification) == ["RD135 info"]


def test_a_step_alone_is_believed_where_the_checkpoint_before_agreed_with_its_name(
    tmp_path: Path,
) -> None:
    for step, inside in ((10, 10), (20, 10), (30, 30)):
        write_torch_file(tmp_path / f"step={step}.ckpt", whole(inside))
    one, two, three = (tmp_path / f"step={step}.ckpt" for step in (10, 20, 30))

    assert told(verified(two)) == ["RD135 info"]
    assert "RD135 warning" in told(verified(two, before=one))
    assert verified(three, before=two).verdict == "sound"


def test_a_later_checkpoint_is_no_reference(tmp_path: Path) -> None:
    last = tmp_path / "last.ckpt"
    weights = {name: array[..., :32] for name, array in weights_at(30).items()}
    write_torch_file(last, whole(30, state_dict=weights))

    assert verified(write_file(tmp_path, 10), before=last).verdict == "sound"
    assert verified(write_file(tmp_path, 40), before=last).verdict == "unsound"


def test_a_link_to_another_checkpoint_of_the_run_is_none_of_its_own(tmp_path: Path) -> None:
    write_file(tmp_path, 10)
    fsdp = write_fsdp(tmp_path, 20)
    (tmp_path / "last.ckpt").symlink_to(name_at(10))
    (tmp_path / "last-v1.ckpt").symlink_to(fsdp)
    (tmp_path / "last-v2.ckpt").symlink_to("nowhere.ckpt")
    (tmp_path / "kept").mkdir()
    write_file(tmp_path, 30).rename(tmp_path / "kept" / "any.ckpt")
    (tmp_path / "last-v3.ckpt").symlink_to("kept/any.ckpt")

    assert checkpoints_in(tmp_path) == ["last-v3.ckpt", name_at(10), name_at(20)]


def test_nothing_in_it_is_executed(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return os.system, ("touch executed",)

    (tmp_path / "last.ckpt").write_bytes(pickle.dumps({"state_dict": Evil()}))

    assert verified(tmp_path / "last.ckpt").verdict == "unsound"
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("name", [name_at(10), "last.ckpt", "best.ckpt"])
def test_verify_takes_a_file_of_any_name(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    write_file(tmp_path, 10).rename(path)
    done = CliRunner().invoke(app, ["verify", str(path), "--json"])

    assert done.exit_code == 0
    (checkpoint,) = json.loads(done.stdout)["checkpoints"]
    assert (checkpoint["layout"], checkpoint["step"]) == ("lightning", 10)
    assert checkpoint["verdict"] == "sound"
