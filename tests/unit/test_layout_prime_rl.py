"""prime-rl: two processes write half of a checkpoint each, and neither waits for the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from resume_daemon.findings import Verdict
from resume_daemon.formats.content import Content
from resume_daemon.layouts.prime_rl import PrimeRl
from resume_daemon.layouts.registry import checkpoints_in
from tests.layouts.prime_rl import BUILDERS, write_rl, write_sft
from tests.verifying import told, verified

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.mark.parametrize("build", BUILDERS.values(), ids=BUILDERS)
def test_a_healthy_checkpoint_is_sound_alone_and_after_another(
    tmp_path: Path, build: Callable[[Path, int], Path]
) -> None:
    first, second = build(tmp_path, 10), build(tmp_path, 20)
    for result in (verified(first), verified(second, before=first)):
        assert (result.layout, result.verdict, told(result)) == ("prime-rl", Verdict.SOUND, [])
    (tmp_path / "step_30").mkdir()
    assert checkpoints_in(tmp_path) == ["step_10", "step_20"]


@pytest.mark.parametrize("gone", ["orchestrator/progress.pt", "trainer/.metadata"])
def test_a_checkpoint_of_one_half_is_incomplete_because_the_other_may_come(
    tmp_path: Path, gone: str
) -> None:
    checkpoint = write_rl(tmp_path, 10)
    (checkpoint / gone).unlink()
    result = verified(checkpoint)
    assert (result.layout, result.verdict) == ("prime-rl", Verdict.INCOMPLETE)


def test_a_shard_that_the_metadata_names_is_missed(tmp_path: Path) -> None:
    checkpoint = write_rl(tmp_path, 10)
    (checkpoint / "trainer/__1_0.distcp").unlink()
    assert told(verified(checkpoint)) == ["RD116 error"]


def test_a_file_that_was_not_yet_renamed_is_not_judged(tmp_path: Path) -> None:
    checkpoint = write_rl(tmp_path, 10)
    (checkpoint / "orchestrator/progress.pt.x1y2.tmp").write_bytes(b"half of")
    assert told(verified(checkpoint)) == []


def test_fine_tuning_needs_no_orchestrator_but_the_first_ranks_data(tmp_path: Path) -> None:
    checkpoint = write_sft(tmp_path, 10)
    (checkpoint / "trainer/dataloader/rank_0.pt").unlink()
    assert told(verified(checkpoint)) == ["RD116 error"]


def test_another_ranks_position_in_the_data_is_lost(tmp_path: Path) -> None:
    checkpoint = write_sft(tmp_path, 10)
    (checkpoint / "trainer/dataloader/rank_1.pt").unlink()
    assert told(verified(checkpoint)) == ["RD117 warning"]


def test_the_trainers_half_says_its_step() -> None:
    contents = {
        "trainer/__0_0.distcp": Content(value={"app.progress.step": 10}),
        "trainer/__1_0.distcp": Content(value={}),
    }
    assert list(PrimeRl().recorded_steps(contents)) == [("trainer/__0_0.distcp", 10)]
