"""``curriculum`` on the two real GRPO runs, where they are beside the checkout."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from resume_daemon.cli import app

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def runs(repository: Path, tmp_path: Path) -> Path:
    data = repository.parent / "shared" / "data" / "grpo-runs"
    if not data.is_dir():
        pytest.skip(f"the two real GRPO runs are not beside this checkout ({data})")
    return shutil.copytree(data, tmp_path / "runs")


def document(*arguments: str | Path) -> dict[str, Any]:
    printed = CliRunner().invoke(app, ["curriculum", *map(str, arguments), "--json"]).stdout
    found: dict[str, Any] = json.loads(printed)
    return found


def test_a_lost_history_is_told_and_nothing_is_made_up_for_it(runs: Path) -> None:
    (run,) = runs.glob("*175657")
    found = document(run, "--auto-fix", "--apply")
    told = [each["code"] for each in found["findings"] if each["severity"] != "info"]
    assert told == ["RD501"]
    assert [each["action"] for each in found["actions"]] == ["nothing"]
    assert any("no performance, stage" in note for note in found["actions"][0]["notes"])


def test_a_rolling_window_is_no_loss(runs: Path) -> None:
    (run,) = runs.glob("*021543")
    found = document(run)
    assert [each["severity"] for each in found["findings"]] == ["info", "info"]
