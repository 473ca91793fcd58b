from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.checkpoints import optimizer_at, write_checkpoint
from tests.torch_files import write_torch_file
from tests.verifying import found, told, verified

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return write_checkpoint(tmp_path, 10)


def with_moments(checkpoint: Path, change: Any) -> list[str]:
    """Save the optimizer again after a change to its parameters, and say what is found."""
    state = optimizer_at(10)
    for number, parameter in state["state"].items():
        change(number, parameter)
    write_torch_file(checkpoint / "optimizer.pt", state)
    return told(verified(checkpoint))


def test_a_first_moment_beyond_its_second_is_an_error(checkpoint: Path) -> None:
    def change(number: int, parameter: dict[str, Any]) -> None:
        if number == 3:
            parameter["exp_avg"][5, 5] = 1e9

    assert with_moments(checkpoint, change) == ["RD312 error"]
    message = found(verified(checkpoint), "RD312").message
    assert "state.3.exp_avg reaches 1e+09" in message


def test_a_first_moment_within_the_bound_of_adam_is_fine(checkpoint: Path) -> None:
    def change(_: int, parameter: dict[str, Any]) -> None:
        parameter["exp_avg"][...] = 7.2
        parameter["exp_avg_sq"][...] = 1.0

    assert with_moments(checkpoint, change) == []


def test_optimizers_that_mean_something_else_by_the_names_are_left_alone(checkpoint: Path) -> None:
    def change(_: int, parameter: dict[str, Any]) -> None:
        parameter["exp_avg_sq"] *= np.float32(1e-12)

    assert with_moments(checkpoint, change) == []


def test_squares_that_underflow_are_no_contradiction(checkpoint: Path) -> None:
    def change(number: int, parameter: dict[str, Any]) -> None:
        if number == 3:
            parameter["exp_avg"] *= np.float32(1e-24)
            parameter["exp_avg_sq"][...] = 0

    assert with_moments(checkpoint, change) == []


def test_half_precision_moments_are_left_alone(checkpoint: Path) -> None:
    def change(number: int, parameter: dict[str, Any]) -> None:
        if number == 3:
            parameter["exp_avg"] = parameter["exp_avg"].astype(np.float16)
            parameter["exp_avg_sq"] = np.zeros_like(parameter["exp_avg"])

    assert with_moments(checkpoint, change) == []


@pytest.mark.parametrize("kind", ["exp_avg", "exp_avg_sq"])
def test_an_impossible_moment_is_an_error(checkpoint: Path, kind: str) -> None:
    def change(number: int, parameter: dict[str, Any]) -> None:
        if number == 3:
            parameter[kind][5, 5] = 1e30

    assert with_moments(checkpoint, change) == ["RD313 error"]
