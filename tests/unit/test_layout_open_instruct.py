"""open-instruct: accelerate's files, and a mark without which a resume passes them over."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from resume_daemon.findings import Verdict
from resume_daemon.layouts.registry import checkpoints_in, layouts
from tests.layouts.open_instruct import BUILDERS, write_deepspeed, write_epoch, write_step
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
        assert result.layout.startswith("open-instruct")
        assert (result.verdict, told(result)) == (Verdict.SOUND, [])
    assert checkpoints_in(tmp_path) == [first.name, second.name]


@pytest.mark.parametrize(
    ("gone", "codes"),
    [
        ("model.safetensors", ["RD101 error"]),
        ("optimizer.bin", ["RD116 error"]),
        ("scheduler.bin", ["RD116 error"]),
        ("random_states_0.pkl", ["RD106 warning"]),
    ],
)
def test_what_accelerate_raises_on_is_unsound_and_a_random_state_is_lost(
    tmp_path: Path, gone: str, codes: list[str]
) -> None:
    checkpoint = write_step(tmp_path, 10)
    (checkpoint / gone).unlink()
    assert told(verified(checkpoint)) == codes


@pytest.mark.parametrize(
    ("gone", "code"),
    [
        ("pytorch_model/zero_pp_rank_1_mp_rank_00_model_states.pt", "RD116 error"),
        ("pytorch_model/bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt", "RD116 error"),
        ("random_states_1.pkl", "RD106 warning"),
    ],
)
def test_with_deepspeed_every_rank_has_to_be_there(tmp_path: Path, gone: str, code: str) -> None:
    checkpoint = write_deepspeed(tmp_path, 10)
    (checkpoint / gone).unlink()
    assert told(verified(checkpoint)) == [code]


def test_an_epochs_number_is_no_step(tmp_path: Path) -> None:
    checkpoint = write_epoch(tmp_path, 3)
    result = verified(checkpoint)
    assert (result.step, told(result)) == (3, [])
    assert result.manifest is not None
    assert result.manifest.step is None


def test_the_same_files_without_the_mark_are_not_this_layouts(tmp_path: Path) -> None:
    (layout,) = (each for each in layouts() if each.name == "open-instruct")
    checkpoint = write_step(tmp_path, 10)
    (checkpoint / "COMPLETED").unlink()
    assert verified(checkpoint).layout != layout.name
