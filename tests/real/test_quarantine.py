"""After a quarantine, transformers itself falls back to the sound checkpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from resume_daemon.cli import app
from tests.checkpoints import write_checkpoint

trainer_utils = pytest.importorskip(
    "transformers.trainer_utils", reason="get_last_checkpoint is transformers' (make test-real)"
)

pytestmark = pytest.mark.real


def repair(run: Path, *arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        CliRunner().invoke(app, ["repair", str(run), "--json", *arguments]).stdout
    )
    return found


def newest(run: Path) -> str:
    """Return the name of the checkpoint that the trainer would resume from."""
    found = trainer_utils.get_last_checkpoint(str(run))
    assert found is not None
    return Path(found).name


def test_the_trainer_resumes_from_the_sound_checkpoint_once_the_damaged_one_is_aside(
    tmp_path: Path,
) -> None:
    run = tmp_path / "run"
    for step in (5, 10):
        write_checkpoint(run, step)
    (run / "checkpoint-10" / "model.safetensors").write_bytes(b"")
    assert newest(run) == "checkpoint-10"

    done = repair(run, "--apply", "--quarantine", "checkpoint-10")["repair"]
    assert newest(run) == "checkpoint-5"
    repair(run, "--undo", done)
    assert newest(run) == "checkpoint-10"
    repair(run, "--apply", "--quarantine", "checkpoint-10")
    repair(run, "--release", "checkpoint-10")
    assert newest(run) == "checkpoint-10"
