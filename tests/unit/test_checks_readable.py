from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.checkpoints import shard, write_adapter_checkpoint, write_checkpoint
from tests.torch_files import write_torch_file
from tests.verifying import told, verified

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def cut_in_half(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def zeros(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def text(path: Path) -> None:
    path.write_text("<html>404 not found</html>")


DAMAGES = [cut_in_half, empty, zeros, text]


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    checkpoint = write_checkpoint(tmp_path, 10)
    write_torch_file(checkpoint / "scaler.pt", {"scale": 65536.0})
    (checkpoint / "generation_config.json").write_text('{"max_new_tokens": 8}')
    return checkpoint


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("trainer_state.json", "RD120 error"),
        ("config.json", "RD120 error"),
        ("tokenizer.json", "RD121 warning"),
        ("tokenizer_config.json", "RD121 warning"),
        ("generation_config.json", "RD121 warning"),
        ("optimizer.pt", "RD301 error"),
        ("scheduler.pt", "RD301 error"),
        ("scaler.pt", "RD301 error"),
        ("rng_state.pth", "RD301 error"),
        ("training_args.bin", "RD302 warning"),
    ],
)
def test_a_file_that_is_not_what_its_name_says_is_told_once(
    checkpoint: Path, damage: Callable[[Path], None], name: str, code: str
) -> None:
    damage(checkpoint / name)
    verification = verified(checkpoint)

    assert told(verification) == [code]
    assert verification.findings[0].file == name
    assert verification.findings[0].message.startswith(f"{name}: ")


@pytest.mark.parametrize("damage", [empty, zeros, text])
def test_weights_that_cannot_be_read_are_an_error(
    checkpoint: Path, damage: Callable[[Path], None]
) -> None:
    damage(checkpoint / "model.safetensors")

    assert told(verified(checkpoint)) == ["RD201 error"]


def test_a_damaged_index_is_told_as_missing_weights_and_as_damage(checkpoint: Path) -> None:
    shard(checkpoint)
    cut_in_half(checkpoint / "model.safetensors.index.json")

    assert told(verified(checkpoint)) == ["RD101 error", "RD120 error"]


def test_a_damaged_configuration_of_an_adapter_is_an_error(tmp_path: Path) -> None:
    checkpoint = write_adapter_checkpoint(tmp_path, 10)
    cut_in_half(checkpoint / "adapter_config.json")

    assert told(verified(checkpoint)) == ["RD120 error"]


@pytest.mark.parametrize("name", ["trainer_state.json", "config.json"])
@pytest.mark.parametrize("content", ["[]", "null", '"text"', "5"])
def test_a_document_that_is_no_object_is_an_error(
    checkpoint: Path, name: str, content: str
) -> None:
    (checkpoint / name).write_text(content)

    assert told(verified(checkpoint)) == ["RD120 error"]


def test_a_side_file_may_hold_any_value(checkpoint: Path) -> None:
    (checkpoint / "tags.json").write_text("[1, 2]")
    (checkpoint / "notes.txt").write_bytes(b"")

    assert told(verified(checkpoint)) == []
