"""Checkpoints of the real trainer with FSDP on two ranks, and what it does with damaged ones."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="the shards are saved by torch (make test-real)")
pytest.importorskip("transformers", reason="the trainer is that of transformers (make test-real)")
pytest.importorskip("accelerate", reason="the trainer needs it for FSDP (make test-real)")

from tests.real.running import OFFLINE

# The fixture trains, and pytest counts it.
pytestmark = [pytest.mark.real, pytest.mark.timeout(400)]

VARIANTS = [(2, "SHARDED_STATE_DICT"), (2, "FULL_STATE_DICT"), (1, "SHARDED_STATE_DICT")]

SILENT = {"the optimizer is missing", "a rank's random state is missing"}
"""What the trainer resumes without, at a loss."""


@pytest.fixture(scope="module", params=VARIANTS, ids=lambda each: f"fsdp{each[0]}-{each[1]}")
def cells(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, Any]]:
    """Return by damage our verdict, what is told, and what the trainer did."""
    version, state = request.param
    home = tmp_path_factory.mktemp("fsdp")
    done = subprocess.run(
        [sys.executable, "-m", "tests.real.fsdp_trainer_script", home, str(version), state],
        cwd=Path(__file__).parents[2],
        env={**OFFLINE, "PATH": "", "HF_HOME": str(home / "cache")},
        capture_output=True,
        text=True,
        timeout=380,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"')]
    return {line.pop("damage"): line for line in lines}


def test_every_healthy_checkpoint_is_sound_and_the_trainer_resumes(
    cells: dict[str, dict[str, Any]],
) -> None:
    healthy = {name: cell for name, cell in cells.items() if name.startswith("none")}

    assert len(healthy) == 3
    for cell in healthy.values():
        assert cell == {"verdict": "sound", "told": [], "trainer": "resumes"}


def test_where_the_trainer_raises_the_checkpoint_is_unsound(
    cells: dict[str, dict[str, Any]],
) -> None:
    raised = {name: cell for name, cell in cells.items() if cell["trainer"] != "resumes"}

    assert "the model is missing" in raised
    assert "the model is cut in half" in raised or "a shard of the model is cut in half" in raised
    assert [name for name, cell in raised.items() if cell["verdict"] != "unsound"] == []


def test_what_the_trainer_takes_in_silence_is_told(cells: dict[str, dict[str, Any]]) -> None:
    for name, cell in cells.items():
        if "another step" in name:
            assert (cell["verdict"], cell["trainer"]) == ("unsound", "resumes"), name
        if name in SILENT:
            assert (cell["verdict"], cell["trainer"]) == ("degraded", "resumes"), name
            assert len(cell["told"]) == 1


def test_the_model_for_others_beside_a_full_state_is_not_asked_for(
    cells: dict[str, dict[str, Any]],
) -> None:
    copy = cells.get("the copy of the model for others is missing")

    assert copy is None or (copy["verdict"], copy["trainer"]) == ("sound", "resumes")


def test_the_missing_optimizer_is_called_as_fsdp_calls_it(
    cells: dict[str, dict[str, Any]],
) -> None:
    ((_, _, message),) = cells["the optimizer is missing"]["told"]

    assert message in {"optimizer_0 is missing", "optimizer.bin is missing"}
