from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from resume_daemon.formats.torch_file import read_torch_file
from tests.checkpoints import optimizer_at, weights_at, write_arguments, write_checkpoint
from tests.torch_files import Global, Instance, Reduced, write_torch_file
from tests.verifying import found, told, verified

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return write_checkpoint(tmp_path, 10)


def flip_a_bit_of(path: Path, tensor: str) -> None:
    span = read_torch_file(path).tensors[tensor].span
    assert span is not None
    content = bytearray(path.read_bytes())
    content[span.begin + span.size // 2] ^= 0x04
    path.write_bytes(content)


# Checksums


def test_a_flipped_bit_in_the_optimizer_is_found_by_its_checksum(checkpoint: Path) -> None:
    flip_a_bit_of(checkpoint / "optimizer.pt", "state.0.exp_avg")
    finding = found(verified(checkpoint), "RD303")

    assert finding.severity == "error"
    assert finding.file == "optimizer.pt"
    assert "1 of" in finding.message
    assert "data/1" in finding.message


def test_damage_in_two_places_is_not_taken_for_checksums_that_are_off(checkpoint: Path) -> None:
    for tensor in ("state.0.exp_avg", "state.3.exp_avg_sq"):
        flip_a_bit_of(checkpoint / "optimizer.pt", tensor)

    assert "2 of" in found(verified(checkpoint), "RD303").message


def test_a_flipped_bit_in_torch_weights_is_found(checkpoint: Path) -> None:
    (checkpoint / "model.safetensors").unlink()
    write_torch_file(checkpoint / "pytorch_model.bin", weights_at(10))
    flip_a_bit_of(checkpoint / "pytorch_model.bin", "model.norm.weight")

    assert told(verified(checkpoint)) == ["RD303 error"]


def test_damage_to_the_record_of_the_arguments_is_a_warning(checkpoint: Path) -> None:
    path = checkpoint / "training_args.bin"
    content = path.read_bytes()
    path.write_bytes(content.replace(b"save_only_model", b"sAve_only_model"))

    assert told(verified(checkpoint)) == ["RD303 warning"]


def test_a_file_without_checksums_is_told_and_not_accused(checkpoint: Path) -> None:
    write_torch_file(checkpoint / "optimizer.pt", optimizer_at(10), crc=False)

    assert told(verified(checkpoint)) == ["RD304 info"]


# What loading would call


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("optimizer.pt", Reduced(Global("os", "system"), "true"), "RD306 error"),
        ("rng_state.pth", Reduced(Global("builtins", "eval"), "1"), "RD306 error"),
        ("scheduler.pt", Reduced(Global("my_project.schedules", "make"), 1), "RD305 error"),
        ("rng_state.pth", Instance(Global("my_project.state", "State"), a=1), "RD307 info"),
        ("rng_state.pth", {"cpu": np.arange(9, dtype=np.uint8)}, None),
    ],
)
def test_what_loading_would_run_is_told_by_how_grave_it_is(
    checkpoint: Path, name: str, value: Any, code: str | None
) -> None:
    content = {"value": value}
    if name == "scheduler.pt":
        content |= {"last_epoch": 10}
    if name == "optimizer.pt":
        content |= optimizer_at(10)
    write_torch_file(checkpoint / name, content)

    assert told(verified(checkpoint)) == ([] if code is None else [code])


def test_what_a_file_would_call_is_named_with_the_file(checkpoint: Path) -> None:
    write_torch_file(checkpoint / "rng_state.pth", Reduced(Global("os", "system"), "true"))
    finding = found(verified(checkpoint), "RD306")

    assert finding.file == "rng_state.pth"
    assert finding.message == "rng_state.pth would use os.system"


def test_what_the_user_allows_is_not_told(checkpoint: Path) -> None:
    write_torch_file(
        checkpoint / "rng_state.pth", Reduced(Global("my_project.schedules", "make"), 1)
    )

    assert told(verified(checkpoint, allowed=frozenset({"my_project.*"}))) == []


def test_a_danger_that_the_user_allows_is_told_all_the_same(checkpoint: Path) -> None:
    write_torch_file(checkpoint / "rng_state.pth", Reduced(Global("os", "system"), "true"))

    assert told(verified(checkpoint, allowed=frozenset({"os.system"}))) == ["RD306 error"]


def test_training_arguments_of_a_script_are_no_danger(checkpoint: Path) -> None:
    write_arguments(checkpoint)
    assert told(verified(checkpoint)) == []

    write_torch_file(
        checkpoint / "training_args.bin", Instance(Global("__main__", "MyArguments"), lr=1e-5)
    )
    assert told(verified(checkpoint)) == ["RD307 info"]
    message = found(verified(checkpoint), "RD307").message
    assert message == "training_args.bin names __main__.MyArguments"
