"""``curriculum`` from outside: what it says of a run's curriculum, and what it changes."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from resume_daemon.cli import app
from resume_daemon.trackers import testing as wandb
from tests.checkpoints import write_checkpoint, write_json

if TYPE_CHECKING:
    from pathlib import Path

    from typer.testing import Result

STATE = "curriculum_state_detailed.json"
MANAGER = """
import pathlib

pathlib.Path({marker!r}).write_text("imported")


class CurriculumManager:
    def get_current_stage_dataset(self):
        return self.stages[self.stage]

    def should_advance_stage(self, value):
        return value > 0.5

    def advance_to_next_stage(self):
        self.stage += 1

    def save_state(self, path):
        path.write_text("{{}}")
"""
LOADING = """
    def load_state(self, path):
        self.stage = int(path.read_text())
"""


def curriculum(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["curriculum", *map(str, arguments)])


def diagnosis(*arguments: str | Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(curriculum(*arguments, "--json").stdout)
    return found


def codes(document: dict[str, Any], *severities: str) -> list[str]:
    wanted = severities or ("error", "warning", "info")
    return [each["code"] for each in document["findings"] if each["severity"] in wanted]


def state_at(step: int, first: int = 1, **changes: Any) -> dict[str, Any]:
    """Return what the trainer that logs every step writes at a step: each entry with its loss."""
    history = [
        {"step": n, "performance": 1 - 1 / n, "loss": 1 / n, "stage": n // 10}
        for n in range(first, step + 1)
    ]
    state = {"current_stage": step // 10, "performance_history": history, "timestamp": "t"}
    return state | changes


@pytest.fixture
def run(tmp_path: Path) -> Path:
    run = tmp_path / "project" / "run"
    run.mkdir(parents=True)
    write_checkpoint(run, 20)
    write_json(run / STATE, state_at(20))
    return run


@pytest.fixture
def watched(watched_run: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "watched"
    shutil.copytree(watched_run, copy, symlinks=True)
    return copy


def test_a_healthy_curriculum_is_fine(run: Path) -> None:
    done = curriculum(run)
    assert done.exit_code == 0, done.output
    assert f"{STATE}  stage 2, step 20, 20 entries of steps 1 to 20" in done.stdout
    assert codes(diagnosis(run), "error", "warning") == []


def test_a_run_without_a_curriculum_is_fine_and_said_to_have_none(tmp_path: Path) -> None:
    done = curriculum(tmp_path)
    assert done.exit_code == 0
    assert "no curriculum state, which is fine" in done.stdout
    write_checkpoint(tmp_path, 5)
    assert curriculum(tmp_path).exit_code == 0
    assert codes(diagnosis(tmp_path)) == []


def test_a_path_that_is_no_run_is_wrong_usage(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"")
    for path, reason in ((tmp_path / "gone", "no such directory"), (file, "it is a file")):
        done = curriculum(path)
        assert done.exit_code == 2
        assert reason in done.stderr


def test_a_history_that_was_lost_at_a_resume_is_told_and_fails(run: Path) -> None:
    write_json(run / STATE, state_at(20, first=13))
    assert "RD501" in codes(diagnosis(run), "warning")
    assert curriculum(run).exit_code == 1


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "empty"), (bytes(200), "zero"), (b'{"current_stage": 1, ', "not whole JSON")],
)
def test_a_state_that_cannot_be_read_is_told_with_the_reason(
    run: Path, content: bytes, reason: str
) -> None:
    (run / STATE).write_bytes(content)
    document = diagnosis(run)
    assert codes(document) == ["RD507", "RD518"]
    assert reason in document["findings"][0]["message"]
    assert document["states"][0]["readable"] is False


def test_a_state_of_another_run_is_told_by_its_values(run: Path) -> None:
    other = state_at(20)
    for entry in other["performance_history"]:
        entry["loss"] += 0.125
    write_json(run / STATE, other)
    assert codes(diagnosis(run), "warning") == ["RD519"]


def test_values_of_another_measure_are_not_taken_for_another_run(run: Path) -> None:
    state = state_at(20)
    every_fifth = state["performance_history"][4::5]
    for entry in every_fifth:
        entry["loss"] += 0.125
    write_json(run / STATE, state | {"performance_history": every_fifth})
    assert "RD519" not in codes(diagnosis(run), "warning")


def test_the_stage_is_looked_for_among_those_that_the_state_defines(run: Path) -> None:
    (run / STATE).unlink()
    stage = {"dataset_levels": ["a"], "complexity_range": [0, 1], "performance_threshold": 0.5}
    state: dict[str, Any] = {
        "current_stage": 1,
        "stage_count": 2,
        "last_update_step": 20,
        "performance_history": [],
        "stages": [{"name": "easy", **stage}, {"name": "hard", **stage}],
    }
    write_json(run / "curriculum_state.json", state)
    assert codes(diagnosis(run), "error", "warning") == []
    write_json(run / "curriculum_state.json", state | {"current_stage": 3})
    assert codes(diagnosis(run), "warning") == ["RD510"]
    del state["stages"][1]["complexity_range"]
    write_json(run / "curriculum_state.json", state)
    document = diagnosis(run)
    assert codes(document, "warning") == ["RD511"]
    assert "stage 1 (hard) lacks complexity_range" in document["findings"][0]["message"]
    del state["stage_count"]
    write_json(run / "curriculum_state.json", state)
    assert "RD512" in codes(diagnosis(run), "warning")


def test_a_state_is_compared_with_the_checkpoint_that_is_named(run: Path) -> None:
    write_checkpoint(run, 10)
    document = diagnosis(run, "--checkpoint", "checkpoint-10")
    assert document["checkpoint"] == {"name": "checkpoint-10", "step": 10}
    assert codes(document, "warning") == ["RD502"]
    missing = curriculum(run, "--checkpoint", "checkpoint-7")
    assert missing.exit_code == 2
    assert "checkpoint-10, checkpoint-20" in missing.stderr


def test_code_is_judged_and_never_run(run: Path, tmp_path: Path) -> None:
    marker = tmp_path / "imported"
    code = tmp_path / "manager.py"
    code.write_text(MANAGER.format(marker=str(marker)), encoding="utf-8")
    document = diagnosis(run, "--code", code)
    assert codes(document, "warning") == ["RD513"]
    assert document["managers"][0]["lacks"] == ["load_state"]
    code.write_text(MANAGER.format(marker=str(marker)) + LOADING, encoding="utf-8")
    assert codes(diagnosis(run, "--code", code), "warning") == []
    assert not marker.exists()


def test_code_is_found_where_the_run_lies_below_the_directory_of_the_start(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = run.parent
    (project / "curriculum").mkdir()
    (project / "curriculum" / "manager.py").write_text(MANAGER.format(marker=""), encoding="utf-8")
    monkeypatch.chdir(project)
    assert diagnosis("run")["managers"][0]["class"] == "CurriculumManager"
    monkeypatch.chdir(run)
    assert diagnosis(".")["managers"] == []


def test_a_manager_whose_methods_have_other_names_is_known_by_the_configuration(
    run: Path, tmp_path: Path
) -> None:
    code = tmp_path / "manager.py"
    code.write_text("class Plan:\n def pick(self): return 1\n def keep(self): return 2\n")
    config = tmp_path / "config.yaml"
    config.write_text(
        f"run: {run}\ncurriculum: {{manager_methods: [pick, keep|save, fetch]}}\n", encoding="utf-8"
    )
    document = diagnosis(run, "--code", code, "--config", config)
    assert document["managers"][0]["has"] == ["pick", "keep"]
    assert document["managers"][0]["lacks"] == ["fetch"]
    assert "RD517" in codes(diagnosis(run, "--code", code), "info")


@pytest.mark.parametrize("content", [b"def f(:\n", b"\0\0", b"x = " + b"(" * 5000])
def test_code_that_is_not_python_is_told(run: Path, tmp_path: Path, content: bytes) -> None:
    code = tmp_path / "manager.py"
    code.write_bytes(content)
    assert "RD516" in codes(diagnosis(run, "--code", code), "warning")


def test_code_that_is_not_there_is_wrong_usage(run: Path, tmp_path: Path) -> None:
    assert curriculum(run, "--code", tmp_path / "gone.py").exit_code == 2


def test_only_one_thing_is_done_at_a_time(run: Path) -> None:
    done = curriculum(run, "--diagnose", "--restore", "checkpoint-20")
    assert done.exit_code == 2
    assert "only one of --diagnose and --restore" in done.stderr
    assert curriculum(run, "--apply").exit_code == 2


def test_a_restore_is_shown_first_and_done_when_asked(watched: Path) -> None:
    before = (watched / STATE).read_bytes()
    shown = curriculum(watched, "--restore", "checkpoint-10")
    assert shown.exit_code == 0, shown.output
    assert "the state of step 10, the same as checkpoint-10" in shown.stdout
    assert (watched / STATE).read_bytes() == before
    done = curriculum(watched, "--restore", "checkpoint-10", "--apply")
    assert done.exit_code == 0, done.output
    restored = json.loads((watched / STATE).read_bytes())
    assert restored["performance_history"][-1]["step"] == 10
    again = curriculum(watched, "--restore", "checkpoint-10", "--apply")
    assert "nothing: it is the version of checkpoint-10 already" in again.stdout


def test_a_version_can_be_put_back_after_its_checkpoint_was_rotated(watched: Path) -> None:
    shutil.rmtree(watched / "checkpoint-5")
    done = curriculum(watched, "--restore", "checkpoint-5", "--apply", "--json")
    assert json.loads(done.stdout)["repair"]
    assert json.loads((watched / STATE).read_bytes())["performance_history"][-1]["step"] == 5


def test_a_version_that_nobody_kept_is_wrong_usage(run: Path, watched: Path) -> None:
    assert "No daemon has kept any" in curriculum(run, "--restore", "checkpoint-20").stderr
    done = curriculum(watched, "--restore", "checkpoint-7")
    assert done.exit_code == 2
    assert "those of checkpoint-5, checkpoint-10" in done.stderr


def test_a_fresh_state_begins_at_the_checkpoint_and_the_old_one_is_kept_beside_it(
    run: Path,
) -> None:
    before = (run / STATE).read_bytes()
    arguments = (run, "--create-fresh", "--checkpoint", "checkpoint-20")
    shown = curriculum(*arguments)
    assert shown.exit_code == 0, shown.output
    assert (run / STATE).read_bytes() == before
    done = json.loads(curriculum(*arguments, "--apply", "--json").stdout)
    made = json.loads((run / STATE).read_bytes())
    assert (made["current_stage"], made["performance_history"]) == (0, [])
    (kept,) = run.glob(f"{STATE}.backup-*")
    assert kept.read_bytes() == before
    undone = CliRunner().invoke(app, ["repair", str(run), "--undo", done["repair"]])
    assert undone.exit_code == 0, undone.output
    assert (run / STATE).read_bytes() == before
    assert not list(run.glob(f"{STATE}.backup-*"))


def test_a_run_that_has_none_gets_the_four_shipped_stages_or_those_of_the_code(
    run: Path, tmp_path: Path
) -> None:
    (run / STATE).unlink()
    arguments = (run, "--create-fresh", "--checkpoint", run / "checkpoint-20", "--apply")
    assert curriculum(*arguments).exit_code == 0
    made = json.loads((run / "curriculum_state.json").read_bytes())
    assert (made["stage_count"], made["last_update_step"]) == (4, 20)
    assert codes(diagnosis(run), "warning", "error") == []
    (run / "curriculum_state.json").unlink()
    marker = tmp_path / "imported"
    code = tmp_path / "stages.py"
    code.write_text(
        f"open({str(marker)!r}, 'w')\nSTAGES = [\n"
        "    CurriculumStageConfig(name='a', complexity_range=(0, 1)),\n"
        "    CurriculumStageConfig(name='b', complexity_range=(1, 2)),\n]\n",
        encoding="utf-8",
    )
    assert curriculum(*arguments, "--code", code).exit_code == 0
    made = json.loads((run / "curriculum_state.json").read_bytes())
    assert [stage["name"] for stage in made["stages"]] == ["a", "b"]
    assert not marker.exists()


def test_a_fresh_state_needs_a_checkpoint_and_one_file(run: Path) -> None:
    assert curriculum(run, "--create-fresh").exit_code == 2
    write_json(run / "curriculum_state.json", {"current_stage": 1, "global_step": 20})
    arguments = (run, "--create-fresh", "--checkpoint", "checkpoint-20")
    several = curriculum(*arguments)
    assert several.exit_code == 2
    assert f"curriculum_state.json, {STATE}" in several.stderr
    assert curriculum(*arguments, "--file", STATE).exit_code == 0


def test_auto_fix_restores_what_was_kept_and_sets_a_damaged_file_aside(watched: Path) -> None:
    good = (watched / STATE).read_bytes()
    (watched / STATE).write_bytes(b"\x80garbage\xff")
    shown = json.loads(curriculum(watched, "--auto-fix", "--json").stdout)
    assert [each["action"] for each in shown["actions"]] == ["restore"]
    assert shown["repair"] is None
    assert curriculum(watched, "--auto-fix", "--apply").exit_code == 0
    assert (watched / STATE).read_bytes() == good
    (aside,) = watched.glob(f"{STATE}.damaged-*")
    assert aside.read_bytes() == b"\x80garbage\xff"
    (watched / STATE).unlink()
    assert curriculum(watched, "--auto-fix", "--apply").exit_code == 0
    assert (watched / STATE).read_bytes() == good


def test_auto_fix_rebuilds_a_history_from_the_log_where_every_value_is_in_it(run: Path) -> None:
    state = state_at(20, first=13)
    for entry in state["performance_history"]:
        del entry["performance"], entry["stage"]
    write_json(run / STATE, state)
    shown = json.loads(curriculum(run, "--auto-fix", "--json", "--apply").stdout)
    assert [each["action"] for each in shown["actions"]] == ["rebuild"]
    assert (
        "12 entries of steps 1 to 12: from log_history of checkpoint-20"
        in (shown["actions"][0]["notes"])
    )
    made = json.loads((run / STATE).read_bytes())
    assert [entry["step"] for entry in made["performance_history"]] == list(range(1, 21))
    assert made["performance_history"][:1] == [{"step": 1, "loss": 1.0}]


def test_auto_fix_makes_nothing_up_and_leaves_a_whole_state_alone(run: Path) -> None:
    write_json(run / STATE, state_at(20, first=13))
    before = (run / STATE).read_bytes()
    done = curriculum(run, "--auto-fix", "--apply")
    assert done.exit_code == 1, done.output
    assert (run / STATE).read_bytes() == before
    assert "not rebuilt: 12 steps from 1 to 12" in done.stdout


def test_auto_fix_makes_a_state_anew_only_where_it_cannot_be_used(run: Path) -> None:
    (run / STATE).write_bytes(b"{")
    shown = json.loads(curriculum(run, "--auto-fix", "--json").stdout)
    assert [each["action"] for each in shown["actions"]] == ["fresh"]
    (run / STATE).unlink()
    assert "nothing to repair" in curriculum(run, "--auto-fix").stdout


def test_a_run_that_cannot_be_written_is_told_and_nothing_is_half_done(run: Path) -> None:
    before = (run / STATE).read_bytes()
    arguments = (run, "--create-fresh", "--checkpoint", "checkpoint-20", "--apply")
    blocked = run / "elsewhere"
    blocked.write_bytes(b"")
    done = curriculum(*arguments, "--state-dir", blocked)
    assert done.exit_code in {1, 2}
    assert str(blocked) in done.stderr
    assert (run / STATE).read_bytes() == before
    assert not list(run.glob(f"{STATE}.*"))


def test_auto_fix_rebuilds_a_history_from_the_rows_of_wandb(run: Path) -> None:
    for first, last in ((1, 20), (21, 30)):
        rows = [
            wandb.history(
                step,
                {
                    "train/global_step": step,
                    "train/loss": 1 / step,
                    "curriculum/latest_performance": 1 - 1 / step,
                    "curriculum/current_stage_idx": step // 10,
                },
            )
            for step in range(first, last + 1)
        ]
        wandb.write_segment(
            run / "wandb",
            [wandb.header(), wandb.run("abc"), *rows],
            name=f"run-20260101_0000{first:02}-abc",
            run_id="abc",
        )
    # The stage is told apart from what is 0 all the time by three values of it.
    state = state_at(30, first=4)
    write_checkpoint(run, 30)
    write_json(run / STATE, state)
    done = json.loads(curriculum(run, "--auto-fix", "--json", "--apply").stdout)
    assert [each["action"] for each in done["actions"]] == ["rebuild"]
    assert "3 entries of steps 1 to 3: from W&B's log" in done["actions"][0]["notes"]
    assert (
        json.loads((run / STATE).read_bytes())["performance_history"]
        == (state_at(30)["performance_history"])
    )


def test_auto_fix_rebuilds_a_history_from_the_versions_that_were_kept(watched: Path) -> None:
    whole = json.loads((watched / STATE).read_bytes())
    late = [{"step": n, "performance": 0.5, "stage": 2} for n in (16, 17, 18)]
    write_checkpoint(watched, 18)
    write_json(watched / STATE, whole | {"performance_history": late})
    done = json.loads(curriculum(watched, "--auto-fix", "--json").stdout)
    (action,) = done["actions"]
    assert action["action"] in {"restore", "rebuild"}
    assert done["repair"] is None
    assert "step 15" in " ".join([action["why"], *action["notes"]])


def test_a_directory_or_a_link_that_leaves_the_run_is_not_written_through(
    run: Path, tmp_path: Path
) -> None:
    (run / STATE).unlink()
    outside = tmp_path / "outside.json"
    outside.write_bytes(b"{}")
    (run / STATE).symlink_to(outside)
    arguments = (run, "--create-fresh", "--checkpoint", "checkpoint-20", "--apply")
    done = curriculum(*arguments)
    assert done.exit_code == 1
    assert "a link that leaves the run" in done.stderr
    assert outside.read_bytes() == b"{}"
    (run / STATE).unlink()
    (run / "curriculum_state.json").mkdir()
    done = curriculum(*arguments)
    assert done.exit_code == 1
    assert "not a regular file" in done.stderr
