"""A real trainer, started by ``exec`` from what is left of its run, goes on as if nothing were."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("torch", reason="the trainer needs torch (make test-real)")
pytest.importorskip("trl", reason="the trainer is TRL's GRPOTrainer (make test-real)")

from tests.real.damages import DAMAGES
from tests.real.running import OFFLINE, PATIENCE, RUN_ID, SCRIPT, segments

if TYPE_CHECKING:
    from pathlib import Path

    from tests.real.conftest import WatchedRun
    from tests.real.damages import Damage

# The fixtures train, and pytest counts them.
pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

COMMAND = (sys.executable, "-m", "resume_daemon")
CURRICULUM = "curriculum_state_detailed.json"
SILENT = [damage for damage in DAMAGES if damage.silent]


@pytest.fixture
def home(healthy_full: WatchedRun, tmp_path: Path) -> Path:
    """Return a copy of the directory of a run of 15 steps, which a daemon has watched."""
    copy = tmp_path / "home"
    shutil.copytree(healthy_full.home, copy, symlinks=True)
    return copy


def losses(checkpoint: Path) -> dict[int, tuple[float, float]]:
    """Return loss and reward of each step, as the trainer has logged them."""
    state = json.loads((checkpoint / "trainer_state.json").read_text())
    return {row["step"]: (row["loss"], row["reward"]) for row in state["log_history"]}


def plan(run: Path, *arguments: str) -> dict[str, Any]:
    done = subprocess.run(
        [*COMMAND, "plan", str(run), "--json", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("damage", SILENT, ids=lambda damage: damage.name)
def test_none_of_the_twelve_damages_that_a_trainer_takes_in_silence_is_resumed_from(
    damage: Damage, home: Path
) -> None:
    run = home / "run"
    damage.apply(run / "checkpoint-15", run / "checkpoint-10")

    found = plan(run)

    assert found["resume_from"]["checkpoint"] == "checkpoint-10"
    assert [each["checkpoint"] for each in found["refused"]] == ["checkpoint-15"]
    assert (found["steps_lost"], found["tracker"]["run_id"]) == (5, RUN_ID)


def test_the_trainer_goes_on_from_the_one_before_with_the_same_losses_stage_and_run(
    healthy_full: WatchedRun, home: Path
) -> None:
    run = home / "run"
    next(d for d in SILENT if d.name == "optimizer.pt bit flipped").apply(
        run / "checkpoint-15", run / "checkpoint-10"
    )
    before = json.loads((run / CURRICULUM).read_text())
    rest = healthy_full.run / "checkpoint-15"
    environ = {name: value for name, value in os.environ.items() if not name.startswith("WANDB")}
    words = [sys.executable, str(SCRIPT), "--output", str(run), "--max-steps", "15"]

    done = subprocess.run(
        [
            *(*COMMAND, "exec", str(run), "--curriculum", "restore", "--"),
            *(*words, "--resume-from", "{checkpoint}"),
        ],
        cwd=home,
        env=environ | OFFLINE | {"WANDB_MODE": "offline", "WANDB_RUN_NAME": "stale"},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )

    assert done.returncode == 0, done.stderr[-3000:]
    assert "resume from checkpoint-10 (sound)" in done.stderr
    assert losses(run / "checkpoint-15") == losses(rest)
    assert (run / "checkpoint-15" / "model.safetensors").read_bytes() == (
        rest / "model.safetensors"
    ).read_bytes()
    after = json.loads((run / CURRICULUM).read_text())
    stages = [
        [(row["step"], row["stage"]) for row in each["performance_history"]]
        for each in (before, after)
    ]
    assert stages[0] == stages[1]
    assert len(segments(home)) == 2


def test_without_it_such_a_damage_ends_in_another_model_and_the_trainer_says_nothing(
    healthy_full: WatchedRun, home: Path
) -> None:
    run = home / "run"
    shutil.rmtree(run / "checkpoint-15")
    next(d for d in SILENT if d.name == "optimizer.pt missing").apply(
        run / "checkpoint-10", run / "checkpoint-5"
    )
    environ = {name: value for name, value in os.environ.items() if not name.startswith("WANDB")}
    words = [sys.executable, str(SCRIPT), "--output", str(run), "--max-steps", "15"]

    done = subprocess.run(
        [*words, "--resume-from", str(run / "checkpoint-10"), "--report-to", "none"],
        cwd=home,
        env=environ | OFFLINE,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )

    assert done.returncode == 0, done.stderr[-3000:]
    weights = (healthy_full.run, run)
    whole, lost = ((each / "checkpoint-15" / "model.safetensors").read_bytes() for each in weights)
    assert len(whole) == len(lost)
    assert whole != lost
