"""What the ranks of FSDP really save, as verl and SkyRL have them save it, is sound and named."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("torch", reason="the shards are saved by torch (make test-real)")

import torch

from resume_daemon.findings import Severity, Verdict
from resume_daemon.formats.content import Format
from resume_daemon.formats.registry import read
from tests.layouts.fsdp import write_shards
from tests.verifying import told, verified

if TYPE_CHECKING:
    from resume_daemon.verification import Verification

# The fixture trains, and pytest counts it.
pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

KINDS = ("fsdp2", "fsdp1-mesh", "fsdp1")
WORLD = 2
SCRIPT = Path(__file__).with_name("fsdp_ranks_script.py")


@pytest.fixture(scope="module", params=KINDS)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where two ranks saved two steps of a training."""
    path = tmp_path_factory.mktemp(request.param)
    ranks = [
        subprocess.Popen([sys.executable, SCRIPT, path, str(rank), str(WORLD), request.param])
        for rank in range(WORLD)
    ]
    assert [rank.wait(timeout=200) for rank in ranks] == [0] * WORLD
    return path


@pytest.mark.parametrize("trainer", ["verl", "skyrl"])
def test_what_the_ranks_save_is_sound(run: Path, trainer: str) -> None:
    first, second = (run / trainer / f"global_step_{step}" for step in (1, 2))
    for result in (verified(first), verified(second, before=first)):
        assert (result.layout, result.verdict) == (trainer, Verdict.SOUND)
        assert not grave(result), told(result)


def test_the_pieces_have_their_parameters_names_and_shapes(run: Path) -> None:
    for rank in range(WORLD):
        pieces = json.loads((run / f"pieces_{rank}.json").read_text(encoding="utf-8"))
        name = f"model_world_size_{WORLD}_rank_{rank}.pt"
        found = read(run / "verl/global_step_2/actor" / name, Format.TORCH)
        shapes = {key: list(shape) for key, shape in found.shapes.items()}
        # A ShardedTensor is a list of shards, so that its piece lies deeper.
        named = {name: shapes.get(name, below(shapes, name)) for name in pieces}
        assert named == pieces
        assert len(found.spans) == sum(shape is not None for shape in pieces.values())


def test_a_flipped_bit_in_a_piece_is_an_error(run: Path, tmp_path: Path) -> None:
    checkpoint = tmp_path / "global_step_2"
    shutil.copytree(run / "verl/global_step_2", checkpoint)
    path = checkpoint / f"actor/model_world_size_{WORLD}_rank_1.pt"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x40
    path.write_bytes(content)
    assert verified(checkpoint).verdict is Verdict.UNSOUND


def test_torch_loads_what_the_tests_write_in_its_place(tmp_path: Path) -> None:
    write_shards(tmp_path, 3)
    state = torch.load(tmp_path / "model_world_size_2_rank_1.pt", weights_only=False)
    tensor: Any = state["model.embed_tokens.weight"]
    assert type(tensor).__name__ == "DTensor"
    assert (tuple(tensor.shape), tuple(tensor._local_tensor.shape)) == ((96, 64), (48, 64))


def grave(result: Verification) -> list[str]:
    """Return what was found beyond a remark."""
    return [each.message for each in result.findings if each.severity is not Severity.INFO]


def below(shapes: dict[str, list[int]], name: str) -> list[int] | None:
    """Return the shape of the one tensor that lies below a name."""
    found = [shape for key, shape in shapes.items() if key.startswith(f"{name}.")]
    return found[0] if len(found) == 1 else None
