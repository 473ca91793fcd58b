"""What is printed for a shell, evaluated by that shell."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resume_daemon.resume.environment import (
    CHECKPOINT_VARIABLE,
    Environment,
    Shell,
    environment,
    shell_lines,
    systemd_lines,
)
from resume_daemon.resume.tracker import TrackerPoint, choices

SHELLS = [("bash", Shell.POSIX), ("zsh", Shell.POSIX), ("sh", Shell.POSIX), ("fish", Shell.FISH)]
VALUES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40)
HARD = ["", "a b", "it's", '"', "$(touch x) `id` $HOME", "\\", "\\'", "a\nb", "!x", "日本 *~"]


def evaluate(program: str, lines: list[str], name: str, environ: dict[str, str]) -> bytes:
    """Return the value that a variable has for a program started after the lines."""
    script = "\n".join([*lines, f"printenv {name}; true"])
    done = subprocess.run(
        [program, "-c", script], env=environ, capture_output=True, timeout=30, check=True
    )
    return done.stdout.removesuffix(b"\n")


@pytest.mark.parametrize(("program", "shell"), SHELLS)
@pytest.mark.parametrize("value", HARD)
def test_a_shell_gives_the_trainer_exactly_the_value(
    program: str, shell: Shell, value: str
) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    lines = shell_lines(Environment({"NAME": value}, ()), shell)
    assert evaluate(program, lines, "NAME", dict(os.environ)) == value.encode()


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=VALUES)
def test_any_value_passes_through_bash_unchanged(value: str) -> None:
    lines = shell_lines(Environment({"NAME": value}, ()), Shell.POSIX)
    assert evaluate("bash", lines, "NAME", dict(os.environ)) == value.encode()


@pytest.mark.parametrize(("program", "shell"), SHELLS)
def test_a_stale_variable_is_gone_for_the_trainer(program: str, shell: Shell) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    found = environment(Path("/r/c"), choices(TrackerPoint("wandb", "new"), 1)[0])
    stale = {**os.environ, "WANDB_RUN_NAME": "old", "WANDB_RESUME_FROM": "old?_step=1"}
    lines = shell_lines(found, shell)
    assert evaluate(program, lines, "WANDB_RUN_NAME", stale) == b""
    assert evaluate(program, lines, "WANDB_RESUME_FROM", stale) == b""
    assert evaluate(program, lines, "WANDB_RUN_ID", stale) == b"new"


@pytest.mark.parametrize("value", ["a b", '"', "$HOME", "\\n", "`id`", "it's"])
def test_a_file_for_systemd_has_the_value_in_quotes_as_a_shell_reads_them(
    value: str, tmp_path: Path
) -> None:
    """What systemd.exec(5) says of double quotes is what a POSIX shell does with them."""
    lines = systemd_lines(Environment({"NAME": value}, ()))
    file = tmp_path / "resume.env"
    file.write_text("\n".join(lines), encoding="utf-8")
    assert evaluate("sh", [f"set -a; . {file}"], "NAME", dict(os.environ)) == value.encode()


def test_without_a_known_run_the_variables_of_the_tracker_are_left_alone() -> None:
    found = environment(Path("/r/c"), None)
    assert found.variables == {CHECKPOINT_VARIABLE: "/r/c"}
    assert found.applied_to({"WANDB_RUN_ID": "x"})["WANDB_RUN_ID"] == "x"


def test_a_start_from_the_beginning_has_no_checkpoint_left_over_from_an_earlier_one() -> None:
    assert environment(None, None).applied_to({CHECKPOINT_VARIABLE: "/old"}) == {}
