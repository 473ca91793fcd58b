"""What the DeepSpeed engine really writes on two ranks is sound, and a lost rank is missed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the engine runs on torch (make test-real)")

from tests.verifying import told, verified

# The fixture trains, and pytest counts it.
pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

SCRIPT = Path(__file__).with_name("deepspeed_ranks_script.py")


@pytest.fixture(scope="module", params=[0, 1, 2, 3], ids=lambda stage: f"zero{stage}")
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where two ranks saved two tags."""
    pytest.importorskip("deepspeed", reason="deepspeed is not installed (make test-real)")
    output = tmp_path_factory.mktemp(f"zero{request.param}")
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*command, "--standalone", SCRIPT, output, str(request.param)],
        env={**os.environ, "DS_ACCELERATOR": "cpu", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return output


def test_every_tag_is_sound_and_nothing_is_said_of_it(run: Path) -> None:
    first, second = run / "global_step1", run / "global_step2"

    for found in (verified(first), verified(second, before=first)):
        assert (found.layout, found.verdict, told(found)) == ("deepspeed", "sound", [])
    assert verified(second).step == 2


def test_each_file_is_needed(run: Path, tmp_path: Path) -> None:
    for name in sorted(path.name for path in (run / "global_step2").iterdir()):
        checkpoint = shutil.copytree(run / "global_step2", tmp_path / name / "global_step2")
        (checkpoint / name).unlink()
        if any(checkpoint.iterdir()):
            assert verified(checkpoint).verdict in {"unsound", "incomplete"}, name
