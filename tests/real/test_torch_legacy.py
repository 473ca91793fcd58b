"""What torch writes without an archive, as it did before 1.6, is found with its bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("torch", reason="the files are saved by torch (make test-real)")

import numpy as np
import torch

from resume_daemon.errors import FormatError
from resume_daemon.formats.torch_file import read_torch_file, scalar_value

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.real


@pytest.fixture
def state() -> dict[str, Any]:
    """Return a state with a model, its optimizer after a step, and tensors of rarer kinds."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(7, 5), torch.nn.LayerNorm(5))
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.randn(3, 7)).sum().backward()
    optimizer.step()
    whole = torch.arange(12.0)
    return {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "half": torch.randn(4, 3).to(torch.bfloat16),
        "flags": torch.tensor([True, False, True]),
        "views": [whole[:6].view(2, 3), whole[6:]],
        "transposed": torch.randn(3, 4).T,
        "empty": torch.zeros(0, 4),
        "rng": torch.get_rng_state(),
        "step": torch.tensor(41),
    }


def saved(path: Path, value: Any) -> None:
    """Save a file in the older form."""
    torch.save(value, path, _use_new_zipfile_serialization=False)


def test_every_tensor_that_lies_in_one_piece_is_found_with_its_bytes(
    tmp_path: Path, state: dict[str, Any]
) -> None:
    path = tmp_path / "model_optim_rng.pt"
    saved(path, state)
    raw = path.read_bytes()
    found = read_torch_file(path)

    assert found.archive is None
    whole = {f"model.{name}": tensor for name, tensor in state["model"].items()}
    whole |= {
        f"optimizer.state.{number}.{name}": tensor
        for number, entry in state["optimizer"]["state"].items()
        for name, tensor in entry.items()
    }
    whole |= {f"views.{number}": view for number, view in enumerate(state["views"])}
    whole |= {n: state[n] for n in ("half", "flags", "empty", "rng", "step")}
    assert found.tensors.keys() == {*whole, "transposed"}
    for name, tensor in whole.items():
        span = found.tensors[name].span
        assert span is not None
        expected = np.ascontiguousarray(tensor.reshape(-1).view(torch.uint8)).tobytes()
        assert (span.shape, raw[span.begin : span.end]) == (tuple(tensor.shape), expected)
    assert scalar_value(path, found.tensors["step"].span) == 41
    assert max(span.end for span in found.storages) == len(raw)
    # torch finds it as whole as we do.
    assert torch.load(path, weights_only=True)["step"] == 41


@pytest.mark.parametrize("less", [1, 100, 5000])
def test_a_file_that_torch_cannot_load_is_refused(
    tmp_path: Path, state: dict[str, Any], less: int
) -> None:
    path = tmp_path / "model_optim_rng.pt"
    saved(path, state)
    path.write_bytes(path.read_bytes()[:-less])

    with pytest.raises((RuntimeError, EOFError)):
        torch.load(path, weights_only=True)
    with pytest.raises(FormatError, match="cut short"):
        read_torch_file(path)
