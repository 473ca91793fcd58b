"""What torch.distributed.checkpoint really writes is sound, and its damage is seen."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the shards are saved by torch (make test-real)")

from resume_daemon.formats.dcp_metadata import read_dcp_metadata
from tests.verifying import told, verified

# The fixture trains, and pytest counts it.
pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

WORLD = 2
SCRIPT = Path(__file__).with_name("dcp_ranks_script.py")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where two ranks saved three steps of a training with FSDP2."""
    home = tmp_path_factory.mktemp("dcp")
    ranks = [
        subprocess.Popen([sys.executable, SCRIPT, home, str(rank), str(WORLD)])
        for rank in range(WORLD)
    ]
    assert [rank.wait(timeout=200) for rank in ranks] == [0] * WORLD
    return home / "run"


def test_every_checkpoint_is_sound_and_nothing_is_said_of_it(run: Path) -> None:
    before = None
    for step in (1, 2, 3):
        checkpoint = run / f"ckpt_{step}"
        found = verified(checkpoint, before=before)
        assert (found.layout, found.verdict, told(found)) == ("dcp", "sound", [])
        before = checkpoint


def test_weights_optimizer_and_steps_are_found_in_the_shards(run: Path) -> None:
    metadata = read_dcp_metadata(run / "ckpt_3" / ".metadata").value

    assert metadata.tensors["model.0.weight"] == (65, 64)
    assert set(metadata.shards) == {"__0_0.distcp", "__1_0.distcp"}
    manifest = verified(run / "ckpt_3").manifest
    assert manifest is not None
    assert manifest.steps["optimizer"] == 3


@pytest.mark.parametrize("shard", ["__0_0.distcp", "__1_0.distcp"])
def test_a_flipped_bit_in_a_value_is_seen_at_first_sight(
    run: Path, tmp_path: Path, shard: str
) -> None:
    checkpoint = shutil.copytree(run / "ckpt_3", tmp_path / "ckpt_3")
    chunk = max(
        read_dcp_metadata(checkpoint / ".metadata").value.shards[shard], key=lambda c: c.size
    )
    content = bytearray((checkpoint / shard).read_bytes())
    content[chunk.begin + chunk.size // 2] ^= 1
    (checkpoint / shard).write_bytes(content)

    assert "RD303 error" in told(verified(checkpoint))
