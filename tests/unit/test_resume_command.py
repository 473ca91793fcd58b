from __future__ import annotations

from pathlib import Path

import pytest

from resume_daemon.resume.command import names_checkpoint, place, with_checkpoint

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


@pytest.mark.parametrize(
    ("command", "started"),
    [
        (
            ["t", "--resume_from_checkpoint", "/old", "--x"],
            ("t", "--resume_from_checkpoint", str(HERE), "--x"),
        ),
        (["t", "--resume-from-checkpoint=True"], ("t", f"--resume-from-checkpoint={HERE}")),
        (["t", "--resume_from_checkpoint="], ("t", f"--resume_from_checkpoint={HERE}")),
        # A flag of the script's own: nothing is put behind it.
        (["t", "--resume_from_checkpoint", "--x"], ("t", "--resume_from_checkpoint", "--x")),
        (["t", "--resume_from_checkpoint"], ("t", "--resume_from_checkpoint")),
        (["t", "--x"], ("t", "--x")),
    ],
)
def test_what_stands_behind_the_option_of_transformers_is_of_an_earlier_start_and_replaced(
    command: list[str], started: tuple[str, ...]
) -> None:
    assert with_checkpoint(place(command, ()).command, HERE) == started


def test_the_value_that_was_replaced_is_told() -> None:
    assert place(["t", "--resume_from_checkpoint", "/old"], ()).how == (
        "as --resume_from_checkpoint, in place of /old"
    )
    assert place(["t"], ()).how is None


def test_the_template_of_the_configuration_comes_after_what_the_command_says_itself() -> None:
    template = ["mode=resume_path", "path={checkpoint}"]
    said = ["t", "--resume={checkpoint}"]
    assert place(["t"], template).command == ("t", *template)
    assert place(said, template).command == tuple(said)
    assert place(["t", "--resume_from_checkpoint", "x"], template).command[-1] == "{checkpoint}"
