"""The layout of the documentation works as documented, from a package of its own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.checkpoints import optimizer_at, weights_at, write_json
from tests.torch_files import write_torch_file

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Path:
    """Return a directory for the path in which the documented package is installed."""
    page = (repository / "docs" / "adding-a-layout.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (toml,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    assert len(code.splitlines()) < 60
    folder = tmp_path_factory.mktemp("site")
    (folder / "my_layout.py").write_text(code)
    metadata = folder / "my_layout-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: my-layout\nVersion: 1.0\n")
    points = toml.replace("project.entry-points.", "").replace('"', "")
    (metadata / "entry_points.txt").write_text(points)
    return folder


def write_save(run: Path, step: int) -> Path:
    checkpoint = run / f"save_{step}"
    checkpoint.mkdir(parents=True)
    for rank in range(2):
        state = {"model": weights_at(step + rank), "optimizer": optimizer_at(step)}
        write_torch_file(checkpoint / f"rank_{rank}.pt", state)
    write_json(checkpoint / "state.json", {"step": step, "ranks": 2})
    (checkpoint / "DONE").touch()
    return checkpoint


def verify(package: Path, run: Path) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "resume_daemon", "verify", "--json", str(run)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(package), *sys.path])},
        capture_output=True,
        text=True,
        check=False,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found["checkpoints"][0]  # type: ignore[no-any-return]


def test_it_is_found_by_its_entry_point_and_judges(package: Path, tmp_path: Path) -> None:
    write_save(tmp_path, 5)
    found = verify(package, tmp_path)

    assert (found["layout"], found["step"], found["verdict"]) == ("my-trainer", 5, "sound")
    assert found["findings"] == []


def test_its_ranks_steps_and_values_are_checked(package: Path, tmp_path: Path) -> None:
    checkpoint = write_save(tmp_path, 5)
    weights = weights_at(5)
    weights["model.norm.weight"][0] = np.nan
    write_torch_file(checkpoint / "rank_0.pt", {"model": weights, "optimizer": optimizer_at(4)})
    write_json(checkpoint / "state.json", {"step": 6, "ranks": 3})
    found = verify(package, tmp_path)

    assert found["verdict"] == "unsound"
    assert {finding["code"] for finding in found["findings"]} == {
        "RD116",  # rank 2 is missing
        "RD410",  # state.json is of step 6
        "RD411",  # the optimizers of the ranks have counted differently
        "RD211",  # a weight is not a number
    }


def test_a_save_without_its_marker_is_incomplete(package: Path, tmp_path: Path) -> None:
    checkpoint = write_save(tmp_path, 5)
    (checkpoint / "DONE").unlink()
    (checkpoint / "rank_1.pt").unlink()

    assert verify(package, tmp_path)["verdict"] == "incomplete"
