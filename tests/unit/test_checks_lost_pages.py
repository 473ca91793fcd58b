from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from resume_daemon.formats.safetensors import read_header
from resume_daemon.reading.zero_runs import PAGE
from tests.checkpoints import HIDDEN, write_checkpoint
from tests.moving import encoded, trained, write_weights
from tests.verifying import found, told, verified

if TYPE_CHECKING:
    from pathlib import Path

WEIGHTS = "model.safetensors"
PROJECTION = "model.layers.1.mlp.down_proj.weight"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return write_checkpoint(tmp_path, 10)


def lose(checkpoint: Path, name: str = PROJECTION, pages: int = 1, shift: int = 0) -> int:
    """Make pages inside a tensor zero, or as many bytes beside them; return where they begin."""
    (span,) = (s for s in read_header(checkpoint / WEIGHTS).tensors if s.name == name)
    begin = span.begin + -span.begin % PAGE + PAGE + shift
    content = bytearray((checkpoint / WEIGHTS).read_bytes())
    assert begin + pages * PAGE < span.end - PAGE
    content[begin : begin + pages * PAGE] = bytes(pages * PAGE)
    (checkpoint / WEIGHTS).write_bytes(content)
    return begin


@pytest.mark.parametrize("pages", [1, 3])
def test_pages_that_were_lost_inside_a_tensor_are_an_error(checkpoint: Path, pages: int) -> None:
    begin = lose(checkpoint, pages=pages)
    verification = verified(checkpoint)

    assert told(verification) == ["RD220 error"]
    expected = f"{pages} pages of zeros lie inside {PROJECTION}, the first at byte {begin}"
    assert expected in found(verification, "RD220").message


def test_zeros_that_begin_where_no_page_does_are_the_trainer_s_own(checkpoint: Path) -> None:
    lose(checkpoint, pages=2, shift=400)

    assert told(verified(checkpoint)) == []


def test_rows_of_zeros_are_the_trainer_s_own(checkpoint: Path) -> None:
    weights = trained(10)
    rows = 3 * PAGE // (4 * HIDDEN)
    weights[PROJECTION] = np.ones((4 * rows, HIDDEN), np.float32)
    weights[PROJECTION][rows : 2 * rows] = 0
    write_weights(
        checkpoint / WEIGHTS,
        {name: ("F32", array.shape, encoded(array, "F32")) for name, array in weights.items()},
    )
    (checkpoint / "optimizer.pt").unlink()

    assert told(verified(checkpoint)) == ["RD104 warning"]


def test_a_tensor_that_has_other_zeros_is_sparse_on_purpose(checkpoint: Path) -> None:
    lose(checkpoint)
    lose(checkpoint, pages=2, shift=2 * PAGE + 400)

    assert told(verified(checkpoint)) == []


def test_what_had_the_same_zeros_before_was_meant_so(tmp_path: Path) -> None:
    pair = [write_checkpoint(tmp_path, step) for step in (5, 10)]
    lose(pair[1])
    assert told(verified(pair[1], before=pair[0])) == ["RD220 error"]

    lose(pair[0])
    assert told(verified(pair[1], before=pair[0])) == []


def test_a_vector_is_judged_beside_the_checkpoint_before(tmp_path: Path) -> None:
    pair = [write_checkpoint(tmp_path, step) for step in (5, 10)]
    for each in pair:
        bias = np.full(8 * PAGE, 0.1, np.float32)
        weights = trained(10) | {"a.bias": bias}
        write_weights(
            each / WEIGHTS, {n: ("F32", a.shape, encoded(a, "F32")) for n, a in weights.items()}
        )
        (each / "scheduler.pt").touch()
    lose(pair[1], "a.bias")

    assert "RD220 error" not in told(verified(pair[1]))
    assert "RD220 error" in told(verified(pair[1], before=pair[0]))
