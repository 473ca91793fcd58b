"""The command ``repair`` on real runs, seen from outside."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from blake3 import blake3
from typer.testing import CliRunner

from resume_daemon.cli import app
from resume_daemon.lock import RunLock
from resume_daemon.repair.store import RepairStore
from tests.checkpoints import write_checkpoint
from tests.repairing import kill_while_applying, proposed
from tests.unit.test_repair_engine import NOW, Picture, picture

if TYPE_CHECKING:
    from pathlib import Path

    from typer.testing import Result

NEWEST = "checkpoint-15"


def repair(run: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["repair", str(run), *arguments])


def document(run: Path, *arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(repair(run, "--json", *arguments).stdout)
    return found


def watch(run: Path) -> subprocess.CompletedProcess[str]:
    config = run.parent / "config.yaml"
    config.write_text(f"run: {run}\nwatch: {{settle_seconds: 0.2}}\n", encoding="utf-8")
    return subprocess.run(
        [sys.executable, "-m", "resume_daemon", "run", "--once", "--config", str(config)],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run of three sound checkpoints that a daemon has seen."""
    run = tmp_path_factory.mktemp("repair") / "run"
    for step in (5, 10, 15):
        write_checkpoint(run, step)
    watch(run)
    return run


@pytest.fixture
def run(watched: Path, tmp_path: Path) -> Path:
    """Return a copy of it whose newest checkpoint has lost a file."""
    copy = tmp_path / "run"
    shutil.copytree(watched, copy)
    (copy / NEWEST / "rng_state.pth").unlink()
    return copy


def test_the_plan_says_what_would_be_done_and_changes_nothing(run: Path) -> None:
    before = picture(run)
    result = repair(run)

    assert "would be done" in result.stdout
    assert f"rng_state.pth of {NEWEST} is missing" in result.stdout
    assert "run again with --apply" in result.stdout
    assert result.exit_code == 1
    assert picture(run) == before


def test_what_is_applied_is_verified_and_can_be_taken_back(run: Path) -> None:
    before = picture(run)
    done = document(run, "--apply")

    assert [each["verdict"] for each in done["verified"]] == ["sound"]
    assert done["resume_from"] == NEWEST
    assert picture(run)[NEWEST] == before[NEWEST]
    assert repair(run).stdout == "nothing to repair\n"
    back = repair(run, "--undo", done["repair"])
    assert (back.exit_code, back.stdout) == (0, f"Took back the repair {done['repair']}.\n")
    assert picture(run) == before


def test_a_run_with_nothing_wrong_ends_with_0(watched: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(watched, copy)

    assert repair(copy, "--apply").exit_code == 0
    assert repair(copy).stdout == "nothing to repair\n"


def test_an_unsound_checkpoint_goes_into_quarantine_and_comes_back(run: Path) -> None:
    (run / NEWEST / "model.safetensors").write_bytes(b"")
    before = picture(run)
    result = repair(run, "--apply")

    assert result.exit_code == 1  # the loss is said, too
    assert not (run / NEWEST).exists()
    assert "RESUME_FROM_CHECKPOINT_DIR" in (run / ".resume_daemon" / "resume.env").read_text()
    assert repair(run, "--release", NEWEST).exit_code == 0
    assert {n: p for n, p in picture(run).items() if n != "."} == {
        n: p for n, p in before.items() if n != "."
    }


def test_a_second_checkpoint_of_the_same_step_goes_into_quarantine_beside_the_first(
    run: Path,
) -> None:
    for _ in range(2):
        (run / NEWEST / "model.safetensors").write_bytes(b"")
        repair(run, "--apply")
        assert not (run / NEWEST).exists()
        write_checkpoint(run, 15, seed=7)
    assert document(run, "--list")["quarantine"] == [NEWEST, f"{NEWEST}.2"]

    (run / NEWEST).rename(run / "elsewhere")
    assert repair(run, "--release", f"{NEWEST}.2").exit_code == 0
    assert (run / NEWEST / "model.safetensors").read_bytes() == b""


def test_a_checkpoint_that_is_not_in_quarantine_cannot_be_released(run: Path) -> None:
    result = repair(run, "--release", "checkpoint-7")
    assert result.exit_code == 2
    assert "it is empty" in result.stderr


def test_a_checkpoint_that_is_not_there_cannot_be_quarantined(run: Path) -> None:
    assert repair(run, "--quarantine", "checkpoint-7").exit_code == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ("--list", "--apply"),
        ("--undo", "x", "--apply"),
        ("--undo", "x", "--release", "y"),
        ("--release", "y", "--apply"),
    ],
)
def test_what_contradicts_itself_is_wrong_usage(arguments: tuple[str, ...], run: Path) -> None:
    assert repair(run, *arguments).exit_code == 2


def test_two_repairs_at_the_same_time_are_refused_with_a_sentence(run: Path) -> None:
    before = picture(run)
    with RunLock(run / ".resume_daemon" / "lock"):
        result = repair(run, "--apply")

    assert result.exit_code == 2
    assert "has held it since" in result.stderr
    assert picture(run) == before


def interrupted(run: Path) -> Picture:
    """Kill a repair after its first replacement; return what the run was before."""
    before = picture(run)
    proposals = proposed(run).proposals
    kill_while_applying(run, proposals, NOW)
    return before


def test_an_interrupted_repair_is_told_by_the_plan_and_settled_by_the_next(run: Path) -> None:
    interrupted(run)

    assert "was interrupted" in repair(run).stderr
    result = repair(run, "--apply")
    assert result.stdout.startswith("Finished the repair 20260102-030405-")
    assert result.exit_code == 0
    assert (run / NEWEST / "rng_state.pth").exists()


def test_an_interrupted_repair_is_settled_by_the_daemon_that_starts(run: Path) -> None:
    before = interrupted(run)
    done = watch(run)

    assert "Finished the repair" in done.stderr
    assert picture(run)[NEWEST] == before[NEWEST]
    assert RepairStore(run / ".resume_daemon" / "repairs").interrupted() == []


def test_earlier_repairs_and_the_quarantine_are_listed(run: Path) -> None:
    (run / "checkpoint-10" / "model.safetensors").write_bytes(b"")
    done = document(run, "--apply", "--quarantine", "checkpoint-10")["repair"]
    (row,) = document(run, "--list")["repairs"]

    assert (row["repair"], row["status"]) == (done, "applied")
    assert "in quarantine: checkpoint-10" in repair(run, "--list").stdout
    repair(run, "--undo", done)
    assert document(run, "--list")["repairs"][0]["status"] == "undone"
    assert document(run, "--list")["quarantine"] == []


def test_what_is_replaced_is_kept_at_a_second_place_first(run: Path, tmp_path: Path) -> None:
    damaged = b"{"
    (run / NEWEST / "config.json").write_bytes(damaged)
    disk = tmp_path / "disk"
    disk.mkdir()
    identity = document(run, "--apply", "--backup-to", str(disk))["repair"]

    (folder,) = disk.iterdir()
    assert (folder / blake3(damaged).hexdigest()).read_bytes() == damaged
    assert "config.json" in (folder / f"{identity}.json").read_text(encoding="utf-8")


def test_a_second_place_that_is_not_there_stops_the_repair(run: Path, tmp_path: Path) -> None:
    (run / NEWEST / "config.json").write_bytes(b"{")
    before = picture(run)
    result = repair(run, "--apply", "--backup-to", str(tmp_path / "none"))

    assert result.exit_code == 1
    assert "there is no such directory" in result.stderr
    assert picture(run) == before
    assert RepairStore(run / ".resume_daemon" / "repairs").identities() == []


def test_older_checkpoints_that_nobody_judged_are_named(tmp_path: Path) -> None:
    for step in (5, 10, 15):
        write_checkpoint(tmp_path / "run", step)

    assert document(tmp_path / "run")["not_looked_at"] == ["checkpoint-10", "checkpoint-5"]


@pytest.mark.parametrize("damaged", [b"", b"{}", bytes(9)])
def test_a_damaged_record_of_a_repair_is_said(damaged: bytes, run: Path) -> None:
    identity = document(run, "--apply")["repair"]
    (run / ".resume_daemon" / "repairs" / identity / "repair.json").write_bytes(damaged)
    before = picture(run)
    result = repair(run, "--undo", identity)

    assert result.exit_code == 1
    assert "repair.json" in result.stderr
    assert picture(run) == before


def test_a_run_that_is_not_there_is_wrong_usage(tmp_path: Path) -> None:
    result = repair(tmp_path / "none")
    assert result.exit_code == 2


def test_nothing_of_the_users_code_is_run(run: Path) -> None:
    package = run / "grpo_project"
    package.mkdir()
    (package / "__init__.py").write_text(f"open({str(run / 'ran')!r}, 'w')\n", encoding="utf-8")
    repair(run, "--apply")

    assert not (run / "ran").exists()
