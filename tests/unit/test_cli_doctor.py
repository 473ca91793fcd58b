"""``doctor`` from outside: real runs, real files, and what is said of them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from resume_daemon.cli import app
from tests.checkpoints import write_arguments, write_checkpoint, write_json
from tests.packages import FITTING, write_environment, write_interpreter
from tests.unit.conftest import REAL_RUN_ID

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

STATE = "curriculum_state_detailed.json"


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Let no variable of the shell that runs the tests, and no key of its user, be seen."""
    for name in list(os.environ):
        if name.startswith(("WANDB", "CUDA", "RESUME", "PYTHON")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory, real_wandb_directory: Path) -> Path:
    """Return a run that is sound from end to end, as a daemon has seen it; not to be changed."""
    run = tmp_path_factory.mktemp("doctor") / "run"
    run.mkdir()
    shutil.copytree(real_wandb_directory, run / "wandb", symlinks=True)
    for step in (10, 20):
        history = [{"step": n, "performance": 0.5, "stage": n // 20} for n in range(1, step + 1)]
        state = {"current_stage": step // 20, "performance_history": history, "timestamp": "t"}
        write_json(run / STATE, state)
        arguments: dict[str, Any] = {
            "learning_rate": 1e-5,
            "report_to": ["wandb"],
            "save_strategy": "steps",
        }
        write_arguments(write_checkpoint(run, step), save_steps=10, **arguments)
        command = [sys.executable, "-m", "resume_daemon", "run", "--once", str(run)]
        environ = {k: v for k, v in os.environ.items() if not k.startswith("WANDB")}
        done = subprocess.run(command, env=environ, capture_output=True, timeout=50, check=False)
        assert done.returncode == 0, done.stderr
    return run


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the interpreter of an environment in which everything fits."""
    root = tmp_path_factory.mktemp("python")
    return write_environment(root / "venv", write_interpreter(root / "base"), FITTING)


def examined(
    arguments: Sequence[str | Path], status: int | None = None, **environ: str
) -> dict[str, Any]:
    """Return the JSON of an examination."""
    result = CliRunner().invoke(app, ["doctor", "--json", *map(str, arguments)], env=environ)
    assert status is None or result.exit_code == status, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def findings(found: dict[str, Any], *severities: str) -> list[str]:
    wanted = severities or ("error", "warning", "info")
    return [
        each["code"]
        for section in found["sections"]
        for each in section["findings"]
        if each["severity"] in wanted
    ]


def section(found: dict[str, Any], name: str) -> dict[str, Any]:
    return next(each for each in found["sections"] if each["name"] == name)


def test_a_healthy_run_gives_no_finding_above_info(watched: Path, python: Path) -> None:
    found = examined([watched, "--python", python], status=0)
    assert findings(found, "error", "warning") == []
    assert (found["errors"], found["warnings"]) == (0, 0)
    assert section(found, "checkpoints")["summary"].startswith("resume from checkpoint-20, sound")
    assert section(found, "tracker")["facts"]["recorded"] == [REAL_RUN_ID]


def test_disk_clock_owners_and_limits_are_looked_at_for_real(tmp_path: Path, python: Path) -> None:
    run = tmp_path / "run"
    checkpoint = write_checkpoint(run, 5)
    found = examined([run, "--python", python], status=0)
    disk, limits = section(found, "disk")["facts"], section(found, "limits")["facts"]
    size = sum(path.stat().st_size for path in checkpoint.iterdir())
    assert disk["checkpoint_bytes"] == size
    assert 0 < disk["free_bytes"] < disk["total_bytes"]
    assert disk["fits"] == disk["free_bytes"] // size
    assert section(found, "permissions")["facts"]["owner"] == run.stat().st_uid
    assert section(found, "clock")["facts"]["newest_file"].startswith("checkpoint-5/")
    assert limits["open_files"] is None or limits["open_files"] > 0
    ahead = run.stat().st_mtime + 3600
    os.utime(checkpoint / "optimizer.pt", (ahead, ahead))
    assert findings(examined([run, "--python", python], status=0), "warning") == ["RD860"]


def test_records_in_a_configured_state_directory_are_found(tmp_path: Path, python: Path) -> None:
    run, elsewhere = tmp_path / "run", tmp_path / "state"
    write_checkpoint(run, 5)
    config = tmp_path / "config.yaml"
    config.write_text(f"run: {run}\nstate_dir: {elsewhere}\n", encoding="utf-8")
    command = [sys.executable, "-m", "resume_daemon", "run", "--once", "--config", str(config)]
    subprocess.run(command, capture_output=True, timeout=50, check=True)
    without = section(examined([run, "--python", python]), "checkpoints")["summary"]
    assert "headers and small files read" in without
    found = examined([run, "--python", python, "--state-dir", elsewhere], status=0)
    assert "not touched since" in section(found, "checkpoints")["summary"]


def test_a_run_on_a_read_only_mount_is_an_error(tmp_path: Path, python: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", disk], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip("this user may not mount a file system")
    try:
        write_checkpoint(disk / "run", 5)
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        found = examined([disk / "run", "--python", python], status=1)
        assert findings(found, "error") == ["RD856"]
    finally:
        subprocess.run(["umount", disk], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_a_run_that_root_wrote_into_is_told_to_its_owner(tmp_path: Path, python: Path) -> None:
    run = tmp_path / "run"
    write_checkpoint(run, 5)
    os.chown(run, 1000, 1000)
    found = examined([run, "--python", python], status=0)
    assert findings(found, "warning") == ["RD859"]
    run.chmod(0o555)
    found = examined([run, "--python", python], status=1)
    assert findings(found, "error") == ["RD857"]


def test_a_healthy_run_is_said_to_be_one_in_words(watched: Path, python: Path) -> None:
    shown = CliRunner().invoke(app, ["doctor", str(watched), "--python", str(python)])
    assert shown.exit_code == 0
    lines = shown.stdout.splitlines()
    assert lines[0] == f"{watched}: nothing is wrong"
    assert any(line.startswith("disk          ") for line in lines)


def test_with_the_environment_of_a_resume_nothing_is_left_to_say_of_it(
    watched: Path, python: Path
) -> None:
    variables = {
        "WANDB_RUN_ID": REAL_RUN_ID,
        "WANDB_RESUME": "must",
        "RESUME_FROM_CHECKPOINT_DIR": str(watched / "checkpoint-20"),
    }
    found = examined([watched, "--python", python], status=0, **variables)
    assert section(found, "environment")["findings"] == []
    assert section(found, "checkpoints")["findings"] == []


def test_nothing_is_written_whatever_is_asked(watched: Path, python: Path) -> None:
    def state() -> dict[Path, tuple[int, int]]:
        return {
            path: (path.lstat().st_mtime_ns, path.lstat().st_size)
            for path in [watched, *watched.rglob("*")]
        }

    before = state()
    asked = ("--report-only", "--deep", "--checkpoint checkpoint-10", "--json")
    for arguments in asked:
        CliRunner().invoke(
            app, ["doctor", str(watched), "--python", str(python), *arguments.split()]
        )
    assert state() == before


def test_a_damaged_newest_checkpoint_is_a_warning_while_an_older_one_will_do(
    watched_run: Path, python: Path
) -> None:
    found = examined([watched_run, "--python", python], status=0)
    assert findings(found, "error", "warning") == ["RD847", "RD851"]
    (refused,) = [
        each for each in section(found, "checkpoints")["findings"] if each["code"] == "RD847"
    ]
    assert "checkpoint-15 is unsound (RD212 " in refused["message"]
    assert refused["message"].endswith("; checkpoint-10 will do; 5 steps are trained again.")


def test_a_copy_of_a_damaged_checkpoint_is_not_trusted_by_its_headers(
    watched_run: Path, python: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(watched_run, copy, symlinks=True)
    quick = examined([copy, "--python", python], status=1)
    assert "RD864" in findings(quick, "error")
    deep = examined([copy, "--python", python, "--deep"], status=0)
    assert findings(deep, "error", "warning") == ["RD847", "RD851"]


def test_one_checkpoint_alone_can_be_examined(watched_run: Path, python: Path) -> None:
    arguments: list[str | Path] = [watched_run, "--python", python, "--checkpoint"]
    assert findings(examined([*arguments, "checkpoint-15"], status=1), "error") == ["RD846"]
    path = watched_run / "checkpoint-5"
    found = examined([*arguments, path], status=0)
    judged = section(found, "checkpoints")["facts"]["judged"]
    assert [each["checkpoint"] for each in judged] == ["checkpoint-5"]


def test_where_no_checkpoint_will_do_the_status_says_so(tmp_path: Path, python: Path) -> None:
    for step in (5, 10):
        (write_checkpoint(tmp_path / "run", step) / "optimizer.pt").write_bytes(b"")
    found = examined([tmp_path / "run", "--python", python], status=1)
    assert findings(found, "error") == ["RD846"]


def test_what_a_degraded_checkpoint_loses_is_a_warning_where_one_will_do(
    tmp_path: Path, python: Path
) -> None:
    run = tmp_path / "run"
    (write_checkpoint(run, 5) / "rng_state.pth").unlink()
    assert findings(examined([run, "--python", python], status=1), "error") == ["RD846"]
    found = examined([run, "--python", python, "--degraded"], status=0)
    (said,) = [x for x in section(found, "checkpoints")["findings"] if x["code"] == "RD869"]
    assert said["message"].startswith("checkpoint-5 is degraded (RD")
    assert preflight(run)[0] == 1
    assert preflight(run, "--degraded")[0] == 0


def test_a_damaged_line_of_the_ledger_costs_what_it_said_and_no_more(
    watched_run: Path, python: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    write_checkpoint(run, 5)
    shutil.copytree(watched_run / ".resume_daemon", run / ".resume_daemon")
    ledger = run / ".resume_daemon" / "ledger.jsonl"
    lines = ledger.read_bytes().splitlines(keepends=True)
    lines[1] = lines[1].replace(b'"', b"'", 1)
    ledger.write_bytes(b"".join(lines))
    found = examined([run, "--python", python], status=0)
    assert "RD870" in findings(found, "warning")
    assert section(found, "checkpoints")["summary"].startswith("resume from checkpoint-5, sound")


def test_a_run_without_a_checkpoint_is_fine(tmp_path: Path, python: Path) -> None:
    (tmp_path / "run").mkdir()
    found = examined([tmp_path / "run", "--python", python], status=0)
    assert findings(found) == ["RD850"]


def test_stale_variables_are_an_error(watched: Path, python: Path) -> None:
    stale = {"WANDB_RUN_ID": "other", "WANDB_RESUME": "must"}
    found = examined([watched, "--python", python], status=1, **stale)
    (said,) = section(found, "environment")["findings"]
    assert said["code"] == "RD830"
    assert said["message"] == (
        "WANDB_RUN_ID names the W&B run other; this training was logged under grpo-run-1."
    )


def test_two_candidate_runs_of_wandb_are_said_in_one_sentence(
    tmp_path: Path, python: Path, real_wandb_directory: Path
) -> None:
    run = tmp_path / "run"
    write_checkpoint(run, 5)
    shutil.copytree(real_wandb_directory, run / "wandb", symlinks=True)
    segment = next((run / "wandb").glob("offline-run-*"))
    second = segment.with_name("offline-run-20990101_000000-second")
    shutil.copytree(segment, second)
    next(second.glob("*.wandb")).rename(second / "run-second.wandb")
    found = examined([run, "--python", python], status=0)
    (said,) = section(found, "tracker")["findings"]
    assert said["message"] == "These W&B runs may be this training's: grpo-run-1, second."
    decided = examined([run, "--python", python, "--run-id", "second"], status=0)
    assert section(decided, "tracker")["findings"] == []


@pytest.mark.parametrize("where", ["variable", "netrc", "nowhere"])
def test_a_key_of_wandb_is_looked_for_and_never_shown(
    where: str, tmp_path: Path, python: Path, real_wandb_directory: Path
) -> None:
    secret = "0123456789abcdef" * 3
    run = tmp_path / "run"
    write_checkpoint(run, 5)
    shutil.copytree(real_wandb_directory, run / "wandb", symlinks=True)
    for segment in (run / "wandb").glob("offline-run-*"):
        segment.rename(segment.with_name(segment.name.removeprefix("offline-")))
    environ = {"WANDB_API_KEY": secret} if where == "variable" else {}
    if where == "netrc":
        (tmp_path / "home").mkdir()
        line = f"machine api.wandb.ai login user password {secret}\n"
        (tmp_path / "home" / ".netrc").write_text(line, encoding="utf-8")
    found = examined([run, "--python", python], status=0, **environ)
    assert section(found, "tracker")["facts"]["authenticated"] is (where != "nowhere")
    assert ("RD843" in findings(found)) is (where == "nowhere")
    assert secret not in json.dumps(found)


def test_what_the_run_was_trained_with_must_be_installed(watched: Path, tmp_path: Path) -> None:
    only_torch = write_environment(
        tmp_path / "venv", write_interpreter(tmp_path / "base"), {"torch": "2.13.0"}
    )
    found = examined([watched, "--python", only_torch], status=1)
    missing = [each["message"] for each in section(found, "dependencies")["findings"]]
    assert [each.partition(" ")[0] for each in missing] == [
        "transformers",
        "accelerate",
        "trl",
        "wandb",
    ]
    assert (
        "the checkpoint's training arguments are a trl.trainer.grpo_config.GRPOConfig"
        in (missing[0])
    )


def test_the_interpreter_that_wandb_noted_is_taken_for_the_trainers(watched: Path) -> None:
    facts = section(examined([watched]), "dependencies")["facts"]
    # The runs of the fixture were logged by the interpreter that runs these tests.
    assert facts["python"] == sys.executable
    assert facts["found_by"].startswith("as W&B noted in offline-run-")
    packages = {each["name"]: each["version"] for each in facts["packages"]}
    assert packages["wandb"] is not None


def test_a_save_that_was_cut_off_is_told(watched: Path, python: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    write_checkpoint(run, 5)
    (run / "tmp-checkpoint-10").mkdir()
    found = examined([run, "--python", python], status=0)
    assert "RD849" in findings(found, "info")


def test_a_curriculum_that_is_damaged_is_part_of_the_examination(
    tmp_path: Path, python: Path
) -> None:
    run = tmp_path / "run"
    write_checkpoint(run, 5)
    (run / STATE).write_text('{"current_stage": 1, "perf', encoding="utf-8")
    found = examined([run, "--python", python], status=0)
    assert findings(found, "warning") == ["RD507"]


def test_without_a_run_the_machine_alone_is_examined(python: Path) -> None:
    found = examined(["--python", python], status=0)
    assert found["run"] is None
    assert {each["name"] for each in found["sections"]} == {
        "environment",
        "dependencies",
        "code",
        "limits",
    }


def write_lengths(run: Path, completion: int) -> None:
    """Write the guide's own example into the configuration that lies in the run."""
    lines = ["max_seq_length: 4096", "max_prompt_length: 1536", "learning_rate: 1.0e-5"]
    lines.append(f"max_completion_length: {completion}")
    (run / "train.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")


def test_lengths_that_fit_exactly_are_fine_and_one_token_more_is_an_error(
    tmp_path: Path, python: Path
) -> None:
    run = tmp_path / "run"
    write_checkpoint(run, 5)
    write_lengths(run, 2560)
    found = section(examined([run], status=0), "parameters")
    assert "1536 + max_completion_length 2560 = 4096 fits max_seq_length" in found["summary"]
    assert preflight(run)[0] == 0
    write_lengths(run, 2561)
    assert "RD801" in findings(examined([run], status=1), "error")
    status, lines = preflight(run)
    assert status == 1
    assert lines[1].startswith("  RD801 error: ")


def test_what_the_installed_trainer_refuses_is_said_by_its_version(
    tmp_path: Path, python: Path
) -> None:
    run = tmp_path / "run"
    write_checkpoint(run, 5)
    write_lengths(run, 2560)
    found = examined([run, "--python", python])
    said = [each["message"] for each in section(found, "parameters")["findings"]]
    assert any("max_prompt_length" in each and "refused by trl 1.16" in each for each in said)
    assert "RD838" not in findings(found)


def test_a_setting_that_only_the_checkpoint_shows_is_held_against_the_version_as_well(
    tmp_path: Path, python: Path
) -> None:
    run = tmp_path / "run"
    write_arguments(write_checkpoint(run, 5), max_prompt_length=1536)
    found = examined([run, "--python", python], status=0)
    assert "RD838" in findings(found, "warning")
    # What TRL had by itself until then, nobody need have set.
    write_arguments(run / "checkpoint-5", max_prompt_length=512)
    assert "RD838" not in findings(examined([run, "--python", python]))


def test_code_that_is_named_is_part_of_the_examination_and_is_not_run(
    watched: Path, python: Path, tmp_path: Path
) -> None:
    package = tmp_path / "configs"
    package.mkdir()
    marker = tmp_path / "it ran"
    (package / "__init__.py").write_text(
        f"open({str(marker)!r}, 'w').close()\nfrom .script import ScriptConfig\n", encoding="utf-8"
    )
    found = examined([watched, "--python", python, "--code", package], status=1)
    assert [each["code"] for each in section(found, "code")["findings"]] == ["RD866"]
    (package / "script.py").write_text("class ScriptConfig: ...\n", encoding="utf-8")
    found = examined([watched, "--python", python, "--code", package], status=0)
    assert section(found, "code")["findings"] == []
    assert not marker.exists()
    missing = CliRunner().invoke(app, ["doctor", "--code", str(tmp_path / "nowhere")])
    assert missing.exit_code == 2


def test_a_page_shows_the_same_findings_and_is_the_only_thing_written(
    watched_run: Path, python: Path, tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    arguments = ["doctor", str(watched_run), "--python", str(python), "--html", str(page)]
    shown = CliRunner().invoke(app, arguments)
    assert shown.exit_code == 0
    assert shown.stdout.splitlines()[-1] == f"wrote {page}"
    content = page.read_text(encoding="utf-8")
    assert "RD847" in content
    assert "checkpoint-15 is unsound" in content
    assert "<svg" in content
    assert [each.name for each in tmp_path.iterdir()] == ["page.html"]
    refused = CliRunner().invoke(app, [*arguments, "--report-only"])
    assert refused.exit_code == 2
    assert "--report-only and --preflight write nothing" in refused.stderr


def test_a_page_replaces_no_file_that_is_none(watched_run: Path, tmp_path: Path) -> None:
    precious = tmp_path / "thesis.html"
    precious.write_text("years of work", encoding="utf-8")
    result = CliRunner().invoke(app, ["doctor", str(watched_run), "--html", str(precious)])
    assert result.exit_code == 2
    assert precious.read_text(encoding="utf-8") == "years of work"


def preflight(*arguments: str | Path, **environ: str) -> tuple[int, list[str]]:
    """Return the exit status and the lines of a preflight."""
    result = CliRunner().invoke(app, ["doctor", "--preflight", *map(str, arguments)], env=environ)
    lines = result.stdout.splitlines()
    assert len(lines) <= 5
    return result.exit_code, lines


def test_a_preflight_lets_a_healthy_run_start_in_one_line(watched: Path) -> None:
    status, lines = preflight(watched)
    assert status == 0
    (line,) = lines
    assert line.startswith(f"{watched}: may start: resume from checkpoint-20, sound (judged ")


def test_a_preflight_lets_a_first_start_be_one(tmp_path: Path) -> None:
    assert preflight(tmp_path / "run")[0] == 0
    (tmp_path / "run").mkdir()
    assert preflight(tmp_path / "run") == (0, [f"{tmp_path / 'run'}: may start: no checkpoint yet"])


def test_a_preflight_refuses_where_no_checkpoint_will_do(tmp_path: Path) -> None:
    run = tmp_path / "run"
    for step in (5, 10):
        (write_checkpoint(run, step) / "optimizer.pt").write_bytes(b"")
    status, lines = preflight(run)
    assert status == 1
    assert lines[0] == f"{run}: refused: 1 error"
    assert lines[1].startswith("  RD846 error: None of 2 checkpoints may be resumed from;")
    assert lines[-1] == f"  what to do: resume-daemon doctor {run}"


def test_a_preflight_refuses_variables_that_would_fork_the_curve(watched: Path) -> None:
    status, lines = preflight(watched, WANDB_RUN_ID="other", WANDB_RESUME="must")
    assert status == 1
    assert "WANDB_RUN_ID names the W&B run other" in lines[1]


def test_a_preflight_sees_them_without_a_daemon_as_well(
    tmp_path: Path, real_wandb_directory: Path
) -> None:
    run = tmp_path / "run"
    write_checkpoint(run, 5)
    shutil.copytree(real_wandb_directory, run / "wandb", symlinks=True)
    assert preflight(run)[0] == 0
    assert preflight(run, WANDB_RUN_ID=REAL_RUN_ID, WANDB_RESUME="must")[0] == 0
    assert preflight(run, WANDB_RUN_ID="other", WANDB_RESUME="must")[0] == 1


def test_a_preflight_refuses_a_checkpoint_variable_that_leads_nowhere(watched: Path) -> None:
    gone = str(watched / "checkpoint-900")
    status, lines = preflight(watched, RESUME_FROM_CHECKPOINT_DIR=gone)
    assert status == 1
    assert lines[1].endswith("there is nothing.")


def test_a_preflight_refuses_a_disk_that_cannot_hold_the_next_checkpoint(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    # A real file system of 1.5 MiB, where this user may mount one: a checkpoint has half a MiB.
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1536k", "tmpfs", disk],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("this user may not mount a file system")
    try:
        write_checkpoint(disk / "run", 5)
        assert preflight(disk / "run")[0] == 0
        (disk / "samples.bin").write_bytes(bytes(700 * 1024))
        status, lines = preflight(disk / "run")
        assert status == 1
        assert lines[1].startswith("  RD852 error: ")
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_preflight_does_not_trust_what_was_unsound_before_it_was_copied(
    watched_run: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(watched_run, copy, symlinks=True)
    status, lines = preflight(copy)
    assert status == 1
    assert "checkpoint-15 was unsound when it was last verified" in lines[1]
    # In place, where nothing was touched, the verdict is the daemon's own.
    status, lines = preflight(watched_run)
    assert status == 0
    assert "resume from checkpoint-10, sound" in lines[0]
    assert lines[1].startswith("  RD847 warning: checkpoint-15 is unsound")


def test_a_preflight_stays_within_five_lines_whatever_is_wrong(tmp_path: Path) -> None:
    run = tmp_path / "run"
    (write_checkpoint(run, 5) / "optimizer.pt").write_bytes(b"")
    wrong = {
        "WANDB_RUN_ID": "a",
        "WANDB_RESUME": "must",
        "WANDB_RESUME_FROM": "b?_step=1",
        "CUDA_VISIBLE_DEVICES": "-1",
        "RESUME_FROM_CHECKPOINT_DIR": str(tmp_path / "x" / ("y" * 200)),
    }
    status, lines = preflight(run, **wrong)
    assert status == 1
    assert len(lines) == 5
    assert "more; what to do" in lines[-1]


def test_what_is_told_in_detail_holds_no_secret(watched: Path, python: Path) -> None:
    secret = "0123456789abcdef" * 3
    environ = {"WANDB_API_KEY": secret, "HF_TOKEN": secret, "SOMETHING": secret}
    arguments = ["doctor", str(watched), "--python", str(python), "--detailed"]
    shown = CliRunner().invoke(app, arguments, env=environ).stdout
    assert secret not in shown
    assert "      WANDB_API_KEY=***" in shown
    assert "      name trl, version 1.16.0" in shown
    assert "optimizer.pt" in shown


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["{tmp}/nowhere"], "there is no such directory"),
        (["{tmp}/file"], "it is a file"),
        (["{tmp}", "--checkpoint", "checkpoint-9"], "the run has no such checkpoint"),
        (["{tmp}", "--python", "{tmp}/file/python"], "there is no interpreter"),
        (["--checkpoint", "checkpoint-9"], "no run was given"),
        (["--preflight"], "--preflight needs a run"),
        (["--preflight", ""], "its name is empty"),
        (["--preflight", "{tmp}/nowhere/run"], "there is no such directory"),
        (["--preflight", "{tmp}/file"], "it is a file"),
    ],
)
def test_wrong_usage_is_a_sentence_and_status_two(
    arguments: list[str], words: str, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"\x00\xff")
    result = CliRunner().invoke(app, ["doctor", *(a.format(tmp=tmp_path) for a in arguments)])
    assert result.exit_code == 2
    assert words in result.stderr


def test_nothing_of_the_run_or_the_environment_is_executed(tmp_path: Path) -> None:
    marker = tmp_path / "it ran"
    code = f"open({str(marker)!r}, 'w').close()\n"
    base = write_interpreter(tmp_path / "base")
    base.resolve().write_text(f"#!/bin/sh\ntouch '{marker}'\n", encoding="utf-8")
    python = write_environment(tmp_path / "venv", base, FITTING)
    site = tmp_path / "venv/lib/python3.11/site-packages"
    (site / "sitecustomize.py").write_text(code, encoding="utf-8")
    (site / "a.pth").write_text(f"import os; {code}", encoding="utf-8")
    run = tmp_path / "run"
    write_checkpoint(run, 5)
    (run / "train.py").write_text(code, encoding="utf-8")
    examined([run, "--python", python], status=0)
    assert not marker.exists()
