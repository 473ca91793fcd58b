"""What a checkpoint is compared with is one rule, whoever verifies it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from resume_daemon.ledger.queries import RunState, fold
from resume_daemon.ledger.reader import read_records
from resume_daemon.references import known_step, references_of
from tests.checkpoints import write_checkpoint

if TYPE_CHECKING:
    from pathlib import Path

    from resume_daemon.manifest import Manifest


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Return a run of four checkpoints, the third of them damaged, and the first gone by now."""
    run = tmp_path / "run"
    for step in (10, 20, 30, 40):
        write_checkpoint(run, step)
    (run / "checkpoint-30" / "optimizer.pt").write_bytes(b"")
    subprocess.run(
        [sys.executable, "-m", "resume_daemon", "run", "--once", str(run)],
        capture_output=True,
        timeout=50,
        check=False,
    )
    shutil.rmtree(run / "checkpoint-10")
    return run


def weights(manifest: Manifest | None) -> str | None:
    if manifest is None:
        return None
    return next(each.digest for each in manifest.resources if "safetensors" in each.name)


def test_sound_ones_before_it_count_also_when_they_are_gone_and_damaged_ones_do_not(
    run: Path,
) -> None:
    manifests = run / ".resume_daemon" / "manifests"
    known = fold(read_records(run / ".resume_daemon" / "ledger.jsonl"))
    assert known.checkpoints["checkpoint-30"].verdict == "unsound"

    found = references_of("checkpoint-40", known, manifests)

    def digest(name: str) -> str | None:
        return weights(references_of(name, known, manifests).recorded)

    assert weights(found.previous) == digest("checkpoint-20")
    assert weights(found.earlier) == digest("checkpoint-10")
    assert weights(found.recorded) == digest("checkpoint-40")
    assert found.older == ()


def test_where_no_daemon_has_watched_there_is_nothing_to_compare_with(tmp_path: Path) -> None:
    assert references_of("checkpoint-40", RunState(), None).previous is None
    assert references_of("checkpoint-40", RunState(), tmp_path).previous is None
    assert known_step("checkpoint-40", RunState()) == 40
