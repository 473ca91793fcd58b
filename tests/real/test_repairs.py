"""Repairs of a real trainer's checkpoints: what is put back, what is rebuilt, what goes on."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("torch", reason="checkpoints are read back by torch (make test-real)")
pytest.importorskip("trl", reason="the trainer is TRL's GRPOTrainer (make test-real)")

from resume_daemon.findings import Verdict
from resume_daemon.repair.proposals import Proposal
from resume_daemon.repair.rebuilding.shard_index import rebuild
from tests.real.damages import DAMAGES
from tests.real.running import OFFLINE, PATIENCE, SCRIPT
from tests.repairing import carry_out, proposed, told
from tests.unit.test_repair_actions import NEVER_WATCHED, OUTCOMES
from tests.verifying import verified

if TYPE_CHECKING:
    from pathlib import Path

    from tests.real.conftest import WatchedRun
    from tests.real.damages import Damage

# The fixtures train, and pytest counts them.
pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]


@pytest.fixture
def run(healthy_full: WatchedRun, tmp_path: Path) -> Path:
    """Return a copy of a run of 15 steps, which a daemon has watched."""
    copy = tmp_path / "home"
    shutil.copytree(healthy_full.home, copy, symlinks=True)
    return copy / "run"


@pytest.fixture
def unwatched(run: Path) -> Path:
    """Return the same run, of which nothing was ever kept."""
    shutil.rmtree(run / ".resume_daemon")
    return run


def contents(checkpoint: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in checkpoint.iterdir()}


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.name)
def test_each_damage_of_a_watched_run_ends_as_the_table_says(damage: Damage, run: Path) -> None:
    checkpoint = run / "checkpoint-15"
    whole = contents(checkpoint)
    damage.apply(checkpoint, run / "checkpoint-10")

    found = proposed(run)
    expected = OUTCOMES[damage.name]
    assert told(found.outcomes, checkpoint.name)[-len(expected) :] == expected
    carry_out(found.outcomes)

    if expected == ["small_file"]:
        assert contents(checkpoint) == whole
        assert verified(checkpoint, before=run / "checkpoint-10").verdict is Verdict.SOUND
    else:
        assert checkpoint.exists() is ("quarantine" not in expected)


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.name)
def test_each_damage_of_a_run_that_was_never_watched_ends_as_the_table_says(
    damage: Damage, unwatched: Path
) -> None:
    checkpoint = unwatched / "checkpoint-15"
    damage.apply(checkpoint, unwatched / "checkpoint-10")

    found = proposed(unwatched)
    expected = NEVER_WATCHED[damage.name]
    assert told(found.outcomes, checkpoint.name) == expected
    carry_out(found.outcomes)

    assert checkpoint.exists() is ("quarantine" not in expected)
    if expected in (["scheduler"], ["trainer_state"]):
        after = verified(checkpoint, before=unwatched / "checkpoint-10")
        assert after.verdict is Verdict.SOUND


def test_a_trainer_state_is_rebuilt_byte_for_byte(unwatched: Path) -> None:
    path = unwatched / "checkpoint-10" / "trainer_state.json"
    whole = path.read_bytes()
    path.unlink()
    (unwatched / "checkpoint-15" / "model.safetensors").unlink()
    found = proposed(unwatched)
    carry_out(found.outcomes)

    assert told(found.outcomes, "checkpoint-10") == ["trainer_state"]
    assert path.read_bytes() == whole


def test_a_rebuilt_scheduler_is_what_torch_had_saved(unwatched: Path) -> None:
    import torch  # noqa: PLC0415 - skipped above where it is not there

    path = unwatched / "checkpoint-15" / "scheduler.pt"
    whole = torch.load(path)
    path.unlink()
    carry_out(proposed(unwatched).outcomes)

    assert torch.load(path) == whole
    assert list(torch.load(path)) == list(whole)


def test_the_trainer_goes_on_from_what_was_rebuilt_as_if_nothing_had_been(
    healthy_full: WatchedRun, unwatched: Path
) -> None:
    checkpoint = unwatched / "checkpoint-10"
    (checkpoint / "trainer_state.json").unlink()
    (checkpoint / "scheduler.pt").unlink()
    (unwatched / "checkpoint-15" / "model.safetensors").unlink()
    found = proposed(unwatched)
    assert sorted(told(found.outcomes, checkpoint.name)) == ["scheduler", "trainer_state"]
    carry_out(found.outcomes)
    assert not (unwatched / "checkpoint-15").exists()

    done = subprocess.run(
        [
            *(sys.executable, str(SCRIPT), "--output", str(unwatched), "--max-steps", "15"),
            *("--resume-from", str(checkpoint), "--report-to", "none"),
        ],
        cwd=unwatched.parent,
        env={**os.environ, **OFFLINE},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )

    assert done.returncode == 0, done.stderr[-3000:]
    for file in ("model.safetensors", "optimizer.pt", "scheduler.pt"):
        again, whole = (each / "checkpoint-15" / file for each in (unwatched, healthy_full.run))
        assert again.read_bytes() == whole.read_bytes(), file


@pytest.mark.parametrize("watched", [False, True], ids=["alone", "beside another"])
def test_an_index_is_rebuilt_as_the_library_writes_it(watched: bool, unwatched: Path) -> None:
    from transformers import AutoModelForCausalLM  # noqa: PLC0415 - 5 s, for this test alone

    for step in (10, 15):
        checkpoint = unwatched / f"checkpoint-{step}"
        model = AutoModelForCausalLM.from_pretrained(checkpoint)
        (checkpoint / "model.safetensors").unlink()
        model.save_pretrained(checkpoint, max_shard_size="100KB")
    index = unwatched / "checkpoint-15" / "model.safetensors.index.json"
    whole = index.read_bytes()
    index.unlink()
    if not watched:
        shutil.rmtree(unwatched / "checkpoint-10")

    found = proposed(unwatched)
    assert told(found.outcomes, "checkpoint-15") == ["shard_index"]
    carry_out(found.outcomes)

    if watched:
        assert index.read_bytes() == whole
    else:
        without = json.loads(whole)
        del without["metadata"]["total_parameters"]
        assert json.loads(index.read_bytes()) == without
    assert AutoModelForCausalLM.from_pretrained(unwatched / "checkpoint-15").num_parameters() > 0


def test_one_form_of_an_index_is_the_library_s_own_byte_for_byte(unwatched: Path) -> None:
    from transformers import AutoModelForCausalLM  # noqa: PLC0415 - as above

    from resume_daemon.repair.gathering import shards_in  # noqa: PLC0415 - as above

    checkpoint = unwatched / "checkpoint-15"
    model = AutoModelForCausalLM.from_pretrained(checkpoint)
    (checkpoint / "model.safetensors").unlink()
    model.save_pretrained(checkpoint, max_shard_size="100KB")
    index = "model.safetensors.index.json"
    shards = shards_in({path.name: path for path in checkpoint.iterdir()})[index]

    forms = rebuild(shards)
    assert isinstance(forms, tuple)
    assert (checkpoint / index).read_bytes() in {form.content for form in forms}


def test_no_proposal_changes_anything_by_itself(run: Path) -> None:
    (run / "checkpoint-15" / "scheduler.pt").unlink()
    before = {path: path.stat().st_mtime_ns for path in sorted(run.rglob("*"))}
    found = proposed(run)

    assert any(isinstance(each, Proposal) for each in found.outcomes)
    assert {path: path.stat().st_mtime_ns for path in sorted(run.rglob("*"))} == before
