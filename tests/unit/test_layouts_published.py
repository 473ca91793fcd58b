"""A tracker file beside the checkpoints says that a save goes on, or nothing at all."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from resume_daemon.layouts.base import Beside
from resume_daemon.layouts.published import tracked_step, unpublished
from resume_daemon.listing import Listing, list_directory

if TYPE_CHECKING:
    from pathlib import Path

WRITTEN = 1_700_000_000 * 10**9
BEFORE, AFTER = WRITTEN - 10**9, WRITTEN + 10**9


@pytest.fixture
def saved(tmp_path: Path) -> Listing:
    """Return a checkpoint of step 20 whose newest file has a known time."""
    checkpoint = tmp_path / "global_step_20"
    checkpoint.mkdir()
    for age, name in enumerate(("data.pt", "model.pt")):
        (checkpoint / name).write_bytes(b"x")
        os.utime(checkpoint / name, ns=(WRITTEN - age, WRITTEN - age))
    return list_directory(checkpoint, boundary=tmp_path)


@pytest.mark.parametrize("text", ["10", "10\n", "global_step10", "checkpoint-10", "release"])
def test_a_tracker_that_names_an_older_step_says_that_the_save_goes_on(
    saved: Listing, text: str
) -> None:
    said = unpublished(saved, 20, Beside(text, BEFORE))
    assert said is not None
    assert text.strip() in said


@pytest.mark.parametrize("text", ["20", "global_step20", "30", "best_global_step30"])
def test_a_tracker_that_names_this_step_or_a_later_one_publishes_it(
    saved: Listing, text: str
) -> None:
    assert unpublished(saved, 20, Beside(text, BEFORE)) is None


def test_a_tracker_set_back_by_hand_is_no_defect_of_later_checkpoints(saved: Listing) -> None:
    assert unpublished(saved, 20, Beside("10", AFTER)) is None


@pytest.mark.parametrize("text", ["", "\n", "global_step", "1" * 19, "my_tag", "{", "10\x0020"])
def test_a_damaged_tracker_or_one_without_a_number_says_nothing(saved: Listing, text: str) -> None:
    assert tracked_step(text) is None
    assert unpublished(saved, 20, Beside(text, BEFORE)) is None


def test_a_run_without_a_tracker_is_judged_by_its_files_alone(saved: Listing) -> None:
    assert unpublished(saved, 20, None) is None


def test_a_checkpoint_without_a_step_in_its_name_is_compared_with_no_tracker(
    saved: Listing,
) -> None:
    assert unpublished(saved, None, Beside("10", BEFORE)) is None


def test_converted_weights_come_before_the_first_step(saved: Listing) -> None:
    assert tracked_step("release\n") == 0
    assert unpublished(saved, 0, Beside("release", BEFORE)) is None
