"""SkyRL: what a checkpoint needs, what it may lack, and what comes after its tracker."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from resume_daemon.findings import Verdict
from resume_daemon.layouts.around import around
from resume_daemon.layouts.registry import layout_of
from resume_daemon.layouts.skyrl import SkyRl
from resume_daemon.listing import list_directory
from tests.layouts.skyrl import BUILDERS, TRACKER, write_fsdp, write_megatron
from tests.verifying import found, told, verified

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.mark.parametrize("build", BUILDERS.values(), ids=BUILDERS)
def test_a_healthy_checkpoint_is_sound_alone_and_after_another(
    tmp_path: Path, build: Callable[[Path, int], Path]
) -> None:
    first, second = build(tmp_path, 10), build(tmp_path, 20)
    for result in (verified(first), verified(second, before=first)):
        assert (result.layout, result.verdict, told(result)) == ("skyrl", Verdict.SOUND, [])


@pytest.mark.parametrize(
    ("gone", "codes"),
    [
        ("policy/model_world_size_2_rank_0.pt", ["RD101 error"]),
        ("critic/optim_world_size_2_rank_1.pt", ["RD116 error"]),
        ("policy/extra_state_world_size_2_rank_1.pt", ["RD116 error"]),
        ("policy/extra_state_*", ["RD116 error"]),
        ("trainer_state.pt", ["RD102 error"]),
        ("policy/optim_*", ["RD104 warning"]),
        ("data.pt", ["RD117 warning"]),
    ],
)
def test_what_the_trainer_raises_on_is_unsound_and_what_it_does_without_is_lost(
    tmp_path: Path, gone: str, codes: list[str]
) -> None:
    checkpoint = write_fsdp(tmp_path, 10)
    for path in list(checkpoint.glob(gone)):
        path.unlink()
    assert told(verified(checkpoint)) == codes


def test_a_damaged_position_in_the_data_is_a_warning_as_it_is_to_the_trainer(
    tmp_path: Path,
) -> None:
    checkpoint = write_fsdp(tmp_path, 10)
    (checkpoint / "data.pt").write_bytes(b"")
    assert told(verified(checkpoint)) == ["RD121 warning"]


def test_a_save_without_the_trainers_state_has_not_ended(tmp_path: Path) -> None:
    checkpoint = write_fsdp(tmp_path, 10)
    (checkpoint / "trainer_state.pt").unlink()
    (tmp_path / TRACKER).unlink()
    assert verified(checkpoint).verdict is Verdict.INCOMPLETE


def test_a_save_is_incomplete_until_the_tracker_names_it(tmp_path: Path) -> None:
    write_fsdp(tmp_path, 10)
    later = write_fsdp(tmp_path, 20)
    (tmp_path / TRACKER).write_text("10", encoding="utf-8")
    os.utime(tmp_path / TRACKER, (1, 1))
    result = verified(later)
    assert result.verdict is Verdict.INCOMPLETE
    assert "names 10" in found(result, "RD103").message


def test_the_trainers_state_says_its_step(tmp_path: Path) -> None:
    checkpoint = write_fsdp(tmp_path, 10)
    listing = list_directory(checkpoint, boundary=tmp_path)
    layout = layout_of(listing)
    assert isinstance(layout, SkyRl)
    state = around(listing, tmp_path).read("trainer_state.pt", layout.rules[-3].part.format)
    assert list(layout.recorded_steps({"trainer_state.pt": state})) == [("trainer_state.pt", 10)]


def test_a_policy_that_is_gone_is_missed_though_a_critic_is_there(tmp_path: Path) -> None:
    checkpoint = write_fsdp(tmp_path, 10)
    for path in list((checkpoint / "policy").glob("*_rank_*")):
        path.unlink()
    result = verified(checkpoint)
    assert (result.layout, result.verdict) == ("skyrl", Verdict.UNSOUND)


def test_shards_that_megatron_writes_in_the_background_may_come_last(tmp_path: Path) -> None:
    checkpoint = write_megatron(tmp_path, 10)
    (checkpoint / "policy/metadata.json").unlink()
    assert verified(checkpoint).verdict is Verdict.INCOMPLETE


def test_a_shard_of_megatrons_is_missed(tmp_path: Path) -> None:
    checkpoint = write_megatron(tmp_path, 10)
    (checkpoint / "policy/__1_0.distcp").unlink()
    assert told(verified(checkpoint)) == ["RD116 error"]
