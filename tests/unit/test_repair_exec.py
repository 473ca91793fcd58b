"""``exec`` starts no trainer from the middle of a repair."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from resume_daemon.lock import RunLock
from tests.checkpoints import write_checkpoint
from tests.repairing import kill_while_applying
from tests.unit.test_repair_engine import NOW, proposal, write

if TYPE_CHECKING:
    from pathlib import Path

FILES = ("one.yaml", "two.yaml")


def start(run: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = ["exec", str(run), *options, "--", "cat", *(str(run / name) for name in FILES)]
    return subprocess.run(
        [sys.executable, "-m", "resume_daemon", *command],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


@pytest.fixture
def interrupted(tmp_path: Path) -> Path:
    """Return a run whose repair of two files was killed after the first was replaced."""
    run = tmp_path / "run"
    for step in (5, 10):
        write_checkpoint(run, step)
    for name in FILES:
        (run / name).write_text("old\n", encoding="utf-8")
    (run / ".resume_daemon").mkdir()
    steps = proposal(*(write(run / name, b"new\n") for name in FILES))

    kill_while_applying(run, steps, NOW)
    assert [(run / name).read_text() for name in FILES] == ["new\n", "old\n"]
    return run


def test_an_interrupted_repair_is_settled_before_the_trainer_starts(interrupted: Path) -> None:
    result = start(interrupted)

    assert (result.returncode, result.stdout) == (0, "new\nnew\n")
    assert "Finished the repair" in result.stderr
    assert "Finished the repair" not in start(interrupted).stderr


def test_no_trainer_starts_while_a_repair_is_at_work(interrupted: Path) -> None:
    with RunLock(interrupted / ".resume_daemon" / "lock"):
        result = start(interrupted)

    assert (result.returncode, result.stdout) == (2, "")
    assert "has held it since" in result.stderr


def test_a_plan_says_that_a_repair_was_interrupted_and_leaves_it(interrupted: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "resume_daemon", "plan", str(interrupted)],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )

    assert "was interrupted, or is at work" in result.stderr
    assert (interrupted / FILES[1]).read_text(encoding="utf-8") == "old\n"


def test_with_force_it_starts_from_what_is_there(interrupted: Path) -> None:
    assert start(interrupted, "--force").stdout == "new\nold\n"
