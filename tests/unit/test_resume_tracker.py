from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from resume_daemon.resume.environment import environment
from resume_daemon.resume.tracker import TrackerPoint, choices

if TYPE_CHECKING:
    from pathlib import Path

POINT = TrackerPoint("wandb", "abc", 412, 100, last_trainer_step=123, explicit=False)


def consequences(point: TrackerPoint, step: int | None) -> dict[str, str]:
    return {each.name: each.consequence for each in choices(point, step)}


def test_going_on_shows_the_steps_that_are_trained_again_twice() -> None:
    assert consequences(POINT, 100)["must"] == "the curve will show steps 101 to 123 twice."
    assert consequences(POINT, 122)["must"] == "the curve will show step 123 twice."


def test_a_trainer_that_passes_its_own_step_loses_them_instead() -> None:
    explicit = TrackerPoint("wandb", "abc", 100, 100, last_trainer_step=123, explicit=True)
    assert "W&B drops those that are trained again" in consequences(explicit, 100)["must"]


def test_nothing_is_shown_twice_where_nothing_was_logged_beyond_the_checkpoint() -> None:
    assert consequences(POINT, 123)["must"].startswith("clean")


def test_without_a_recorded_step_there_is_nothing_to_rewind_to() -> None:
    assert list(consequences(TrackerPoint("wandb", "abc"), 100)) == ["must", "new"]


WHAT_WANDB_MAKES_OF_IT = """
import os
from wandb.sdk.wandb_settings import Settings
s = Settings()
s.update_from_env_vars(os.environ)
moment = s.resume_from or s.fork_from
print(s.run_id, s.resume, moment and (moment.run, moment.value, moment.metric))
"""


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("must", "abc must None"),
        ("rewind", "None None ('abc', 412, '_step')"),
        ("fork", "None None ('abc', 412, '_step')"),
        ("new", "None None None"),
    ],
)
def test_wandb_itself_reads_each_choice_as_it_is_meant(
    name: str, read: str, tmp_path: Path
) -> None:
    choice = next(each for each in choices(POINT, 100) if each.name == name)
    stale = {**os.environ, "WANDB_RUN_ID": "old", "WANDB_RESUME": "allow"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", WHAT_WANDB_MAKES_OF_IT],
        env=environment(tmp_path, choice).applied_to(stale),
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.stdout.strip() == read, done.stderr
