from __future__ import annotations

from pathlib import Path

import pytest

from resume_daemon.resume.command import names_checkpoint, with_checkpoint

HERE = Path("/run/checkpoint-10")


def test_the_place_of_the_checkpoint_is_filled_in_wherever_it_stands() -> None:
    command = ["sh", "-c", "train {checkpoint}", "--resume={checkpoint}"]
    assert names_checkpoint(command)
    assert with_checkpoint(command, HERE) == (
        "sh",
        "-c",
        "train /run/checkpoint-10",
        "--resume=/run/checkpoint-10",
    )


@pytest.mark.parametrize(
    ("command", "left"),
    [
        (["t", "--resume_from_checkpoint", "{checkpoint}", "--x"], ("t", "--x")),
        (["t", "--resume={checkpoint}", "--x"], ("t", "--x")),
        (["t", "--x=1", "{checkpoint}"], ("t", "--x=1")),
        (["t", "a", "{checkpoint}"], ("t", "a")),
        (["t", "--x"], ("t", "--x")),
    ],
)
def test_a_start_from_the_beginning_has_no_option_that_wants_a_checkpoint(
    command: list[str], left: tuple[str, ...]
) -> None:
    assert with_checkpoint(command, None) == left
