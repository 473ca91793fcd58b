"""What accelerate's ``save_state`` really writes is sound, of one process and of two."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("accelerate", reason="the states are saved by accelerate (make test-real)")

from tests.verifying import told, verified

# The fixture trains, and pytest counts it.
pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

SCRIPT = Path(__file__).with_name("accelerate_ranks_script.py")


@pytest.fixture(scope="module", params=[1, 2], ids=lambda ranks: f"{ranks}-ranks")
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where three states were saved."""
    project = tmp_path_factory.mktemp(f"accelerate-{request.param}")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    done = subprocess.run(
        [*command, "--nproc-per-node", str(request.param), SCRIPT, project],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return project / "checkpoints"


def test_every_state_is_sound_and_nothing_is_said_of_it(run: Path) -> None:
    before = None
    for number in range(3):
        checkpoint = run / f"checkpoint_{number}"
        found = verified(checkpoint, before=before)
        assert (found.layout, found.verdict, told(found)) == ("accelerate", "sound", [])
        before = checkpoint


def test_a_lost_random_state_is_told(run: Path) -> None:
    checkpoint = run / "checkpoint_2"
    state = checkpoint / "random_states_0.pkl"
    content = state.read_bytes()
    state.unlink()
    try:
        assert "RD106 warning" in told(verified(checkpoint))
    finally:
        state.write_bytes(content)
