"""The real trainer with FSDP on two ranks: what it saves is sound, what it cannot resume is not.

FSDP1 with FULL_STATE_DICT is not among them: on a CPU, torch 2.13 dies of SIGSEGV as it saves.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("accelerate", reason="the trainer shards with it (make test-real)")

# The fixture trains, and pytest counts it.
pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]
KINDS = ((2, "SHARDED_STATE_DICT"), (2, "FULL_STATE_DICT"), (1, "SHARDED_STATE_DICT"))

LEFT_ALONE = {
    "none",
    # Beside pytorch_model_fsdp.bin, for whoever loads the model without FSDP; a resume needs none.
    "the copy of the model for others is missing",
}
LOST = {"the optimizer is missing", "a rank's random state is missing"}

Lines = dict[str, dict[str, Any]]


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: f"FSDP{kind[0]} {kind[1]}")
def lines(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Lines:
    """Return what became of each damage, by the trainer and by us."""
    version, state = request.param
    home = tmp_path_factory.mktemp("fsdp")
    done = subprocess.run(
        [sys.executable, "-m", "tests.real.fsdp_trainer_script", str(home), str(version), state],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    found = [json.loads(line) for line in done.stdout.split("\n") if line.startswith('{"damage"')]
    assert done.returncode == 0, done.stderr[-4000:]
    return {each["damage"]: each for each in found}


def test_what_the_trainer_saves_is_sound_and_resumes(lines: Lines) -> None:
    healthy = [each for name, each in lines.items() if name.startswith("none")]

    assert len(healthy) == 3
    for each in healthy:
        assert (each["verdict"], each["told"], each["trainer"]) == ("sound", [], "resumes")


def test_nothing_on_which_the_trainer_fails_is_sound_or_merely_degraded(lines: Lines) -> None:
    failed = {name: each["verdict"] for name, each in lines.items() if each["trainer"] != "resumes"}

    assert len(failed) > 1
    assert set(failed.values()) == {"unsound"}


def test_what_the_trainer_takes_in_silence_is_told(lines: Lines) -> None:
    silent = {
        name: each["verdict"]
        for name, each in lines.items()
        if each["trainer"] == "resumes" and not name.startswith("none")
    }

    for name, verdict in silent.items():
        if name not in LEFT_ALONE:
            assert verdict == ("degraded" if name in LOST else "unsound"), name
