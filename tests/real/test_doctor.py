"""``doctor`` on runs of the real trainer, in the environment that trained them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("torch", reason="the trainer needs torch (make test-real)")
pytest.importorskip("trl", reason="the trainer is TRL's GRPOTrainer (make test-real)")

from tests.real.running import RUN_ID

if TYPE_CHECKING:
    from pathlib import Path

    from tests.real.conftest import WatchedRun

# The fixtures train, and pytest counts them.
pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

CLEAN = {name: value for name, value in os.environ.items() if not name.startswith("WANDB")}


def run_doctor(run: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "resume_daemon", "doctor", str(run), *arguments],
        env={**CLEAN, **environ},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_a_healthy_run_in_the_environment_that_trained_it_gives_nothing_above_info(
    healthy: WatchedRun,
) -> None:
    done = run_doctor(healthy.run, "--json")
    found: dict[str, Any] = json.loads(done.stdout)
    graver = [
        (each["code"], each["message"])
        for section in found["sections"]
        for each in section["findings"]
        if each["severity"] != "info"
    ]
    assert graver == []
    assert done.returncode == 0
    (packages,) = [each for each in found["sections"] if each["name"] == "dependencies"]
    # Nobody named the interpreter: W&B noted it when it trained.
    assert packages["facts"]["python"] == sys.executable
    assert packages["facts"]["found_by"].startswith("as W&B noted in ")
    assert all(each["version"] for each in packages["facts"]["packages"])


def test_a_preflight_lets_it_start_and_stops_it_where_the_curve_would_fork(
    healthy_full: WatchedRun,
) -> None:
    may = run_doctor(healthy_full.run, "--preflight")
    assert may.returncode == 0
    assert len(may.stdout.splitlines()) == 1
    right = run_doctor(healthy_full.run, "--preflight", WANDB_RUN_ID=RUN_ID, WANDB_RESUME="must")
    assert right.returncode == 0
    wrong = run_doctor(healthy_full.run, "--preflight", WANDB_RUN_ID="another", WANDB_RESUME="must")
    assert wrong.returncode == 1
    assert f"this training was logged under {RUN_ID}" in wrong.stdout
