from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from typer.testing import CliRunner, Result

from resume_daemon.cli import app
from resume_daemon.comparison import Status, compare
from resume_daemon.errors import CancelledError, ChangedError, UsageError
from tests.checkpoints import shard, weights_at, write_checkpoint
from tests.moving import TYPES, trained, write_run
from tests.torch_files import write_torch_file

if TYPE_CHECKING:
    from pathlib import Path

    from resume_daemon.comparison import TensorChange

WEIGHTS = "model.safetensors"
PROJECTION = "model.layers.1.mlp.down_proj.weight"
NORM = "model.norm.weight"


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    return write_checkpoint(tmp_path, 10, seed=1), write_checkpoint(tmp_path, 5, seed=1)


def edit(checkpoint: Path, **changes: Any) -> None:
    weights = {**load_file(checkpoint / WEIGHTS), **changes}
    save_file({n: a for n, a in weights.items() if a is not None}, checkpoint / WEIGHTS)


def weights_of(changes: tuple[TensorChange, ...]) -> dict[str, TensorChange]:
    return {each.name: each for each in changes if each.file.startswith("model")}


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["verify", *map(str, arguments)])


def test_a_checkpoint_is_identical_to_itself(pair: tuple[Path, Path]) -> None:
    assert {each.status for each in compare(pair[0], pair[0])} == {Status.IDENTICAL}


@pytest.mark.parametrize("dtype", TYPES)
def test_every_number_is_that_of_all_values(tmp_path: Path, dtype: str) -> None:
    here, _, there = write_run(tmp_path, lambda step: trained(step, 1e-2), dtype)
    change = weights_of(compare(here, there))[PROJECTION]
    ours, theirs = (
        trained(int(path.name.split("-")[1]), 1e-2)[PROJECTION].astype(np.float64)
        for path in (here, there)
    )
    rms = np.sqrt(np.mean((ours - theirs) ** 2))

    assert change.status is Status.MOVED
    assert change.largest == pytest.approx(np.abs(ours).max(), rel=0.01)
    assert change.largest_there == pytest.approx(np.abs(theirs).max(), rel=0.01)
    assert change.largest_step == pytest.approx(np.abs(ours - theirs).max(), rel=0.02)
    assert change.rms_step == pytest.approx(rms, rel=0.01)
    size = np.sqrt(max(np.mean(ours**2), np.mean(theirs**2)))
    assert change.change == pytest.approx(rms / size, rel=0.01)


def test_one_value_of_many_that_moved_is_seen(
    pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resume_daemon.comparison._READ_BYTES", 1024)
    weight = load_file(pair[0] / WEIGHTS)[PROJECTION].copy()
    weight.flat[-1] += 1
    edit(pair[0], **{PROJECTION: weight})
    changes = weights_of(compare(*pair))

    assert [name for name, c in changes.items() if c.status is Status.MOVED] == [PROJECTION]
    assert changes[PROJECTION].largest_step == pytest.approx(1)


def test_tensors_that_are_only_here_or_there_or_of_another_form_are_told(
    pair: tuple[Path, Path],
) -> None:
    own = np.ones((8, 8), np.float32)
    edit(pair[0], new=own, form=own, kind=own, count=np.arange(9), **{NORM: None})
    edit(pair[1], form=own[:4], kind=own.astype(np.float16), count=np.arange(1, 10))
    changes = weights_of(compare(*pair))

    assert changes["new"].status is Status.HERE
    assert changes[NORM].status is Status.THERE
    assert changes["form"].status is Status.SHAPE
    assert changes["kind"].status is Status.TYPE
    assert changes["count"].status is Status.MOVED
    assert changes["count"].change is None


def test_the_largest_change_comes_first_and_what_is_identical_last(
    pair: tuple[Path, Path],
) -> None:
    weights = load_file(pair[0] / WEIGHTS)
    edit(pair[0], **{NORM: weights[NORM] * 2, PROJECTION: weights[PROJECTION] * 1.5})
    changes = [each for each in compare(*pair) if each.file == WEIGHTS]

    assert [each.name for each in changes[:2]] == [NORM, PROJECTION]
    assert {each.status for each in changes[2:]} == {Status.IDENTICAL}


def test_shards_are_compared_with_a_single_file(tmp_path: Path) -> None:
    here, there = (write_checkpoint(tmp_path / name, 10) for name in "ab")
    shard(there)

    assert {c.status for c in weights_of(compare(here, there)).values()} == {Status.IDENTICAL}


def test_torch_archives_are_compared_with_safetensors(pair: tuple[Path, Path]) -> None:
    (pair[1] / WEIGHTS).unlink()
    write_torch_file(pair[1] / "pytorch_model.bin", weights_at(1))

    assert {c.status for c in weights_of(compare(*pair)).values()} == {Status.IDENTICAL}


def test_the_optimizer_is_compared_too(tmp_path: Path) -> None:
    pair = (write_checkpoint(tmp_path, step) for step in (10, 5))
    moved = {each.name for each in compare(*pair) if each.status is Status.MOVED}

    assert "state.0.exp_avg" in moved


def test_values_that_are_not_finite_are_left_out(pair: tuple[Path, Path]) -> None:
    norm = load_file(pair[0] / WEIGHTS)[NORM].copy()
    norm[0] = np.nan
    edit(pair[0], **{NORM: norm})
    change = weights_of(compare(*pair))[NORM]

    assert (change.status, change.largest_step) == (Status.MOVED, 0)


def test_a_comparison_can_be_stopped(pair: tuple[Path, Path]) -> None:
    with pytest.raises(CancelledError):
        compare(*pair, cancelled=lambda: True)


def test_what_is_no_checkpoint_cannot_be_compared(pair: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError):
        compare(pair[0], tmp_path / "empty")


def test_a_file_that_is_cut_meanwhile_is_an_error_of_its_own(
    pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resume_daemon.comparison.os.pread", lambda *_: b"")
    with pytest.raises(ChangedError):
        compare(*pair)


# The command


def test_the_command_shows_what_changed_most(pair: tuple[Path, Path]) -> None:
    edit(pair[0], **{PROJECTION: load_file(pair[0] / WEIGHTS)[PROJECTION] * 1.5})
    result = invoke(pair[0], "--against", pair[1])

    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0] == f"{pair[0]}  sound"
    assert lines[1].startswith(f"against {pair[1]}: ")
    assert any(line.startswith(f"  {PROJECTION}  moved by 0.33 of its size") for line in lines)
    assert not any(NORM in line for line in lines)
    assert NORM in invoke(pair[0], "--against", pair[1], "--all").stdout


def test_the_command_shortens_a_long_list(pair: tuple[Path, Path]) -> None:
    edit(pair[0], **{f"x.{number}": np.ones((2, 2), np.float32) for number in range(30)})
    result = invoke(pair[0], "--against", pair[1])

    assert "more (--all shows them)" in result.stdout
    assert "more (--all" not in invoke(pair[0], "--against", pair[1], "--all").stdout


def test_the_document_has_every_tensor(pair: tuple[Path, Path]) -> None:
    document = json.loads(invoke(pair[0], "--against", pair[1], "--json").stdout)

    assert document["against"]["path"] == str(pair[1])
    assert len(document["against"]["tensors"]) == len(compare(*pair))
    assert json.loads(invoke(pair[0], "--json").stdout)["against"] is None


def test_only_one_checkpoint_is_compared_with_another(pair: tuple[Path, Path]) -> None:
    assert invoke(pair[0].parent, "--against", pair[1]).exit_code == 2
    assert invoke(*pair, "--against", pair[1]).exit_code == 2
    assert invoke(pair[0], "--against", pair[0].parent / "none").exit_code == 2
