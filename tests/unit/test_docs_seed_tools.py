"""The page of the hand-run tools names commands, options and tests that there are."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
import typer

from resume_daemon.cli import app

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def page(repository: Path) -> str:
    return (repository / "docs" / "seed-tools.md").read_text(encoding="utf-8")


def test_every_function_has_a_test_that_there_is(page: str, repository: Path) -> None:
    rows = [line.split("|")[1:-1] for line in page.splitlines() if line.startswith("| ")]
    proofs = [row[2].strip() for row in rows if row[2].strip() not in {"proved by", "---"}]
    assert len(proofs) > 40
    for proof in proofs:
        for each in proof.split(", "):
            path, _, name = each.partition("::")
            source = (repository / path).read_text(encoding="utf-8")
            assert not name or f"def {name}(" in source, each


def test_every_command_and_option_is_there(page: str) -> None:
    known = {
        name: {option for parameter in command.params for option in parameter.opts}
        for name, command in getattr(typer.main.get_command(app), "commands", {}).items()
    }
    spoken = re.findall(r"`resume-daemon ([a-z]+)((?: --[a-z-]+)*)`", page)
    assert len(spoken) > 30
    for command, options in spoken:
        assert set(options.split()) <= known[command], command
