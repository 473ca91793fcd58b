"""The trainer is the oracle: nothing on which it raises is sound or merely degraded."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="checkpoints are made by torch (make test-real)")
pytest.importorskip("trl", reason="the trainer is TRL's GRPOTrainer (make test-real)")

from tests.real.running import OFFLINE

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Return every file and damage of a real checkpoint, with verdict and what the trainer did."""
    home = tmp_path_factory.mktemp("oracle")
    done = subprocess.run(
        [sys.executable, "-m", "tests.real.oracle_script", str(home)],
        cwd=Path(__file__).parents[2],
        env={**OFFLINE, "PATH": "", "HF_HOME": str(home / "cache"), "WANDB_MODE": "disabled"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"')]


def test_what_the_trainer_cannot_resume_from_is_neither_sound_nor_degraded(
    cells: list[dict[str, Any]],
) -> None:
    raised = [cell for cell in cells if cell["trainer"] != "resumes"]

    assert len(raised) > 20
    assert [cell for cell in raised if cell["verdict"] in {"sound", "degraded"}] == []


def test_the_whole_checkpoint_is_sound_and_resumes(cells: list[dict[str, Any]]) -> None:
    assert {"file": "(none)", "damage": "none", "verdict": "sound", "codes": []} | {
        "trainer": "resumes"
    } in cells


def test_much_of_what_the_trainer_takes_in_silence_is_told(cells: list[dict[str, Any]]) -> None:
    silent = [cell for cell in cells if cell["trainer"] == "resumes" and cell["file"] != "(none)"]
    told = [cell for cell in silent if cell["verdict"] != "sound"]

    assert len(told) > len(silent) / 2
