from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from safetensors.numpy import save_file
from typer.testing import CliRunner, Result

from resume_daemon.cli import app
from resume_daemon.errors import ResumeDaemonError
from resume_daemon.formats.registry import read
from tests.checkpoints import weights_at, write_checkpoint, zero_second_half

if TYPE_CHECKING:
    from resume_daemon.formats.content import Content, Format


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def verdicts(result: Result) -> dict[str, str]:
    return {Path(c["path"]).name: c["verdict"] for c in json.loads(result.stdout)["checkpoints"]}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    for step in (5, 10):
        write_checkpoint(tmp_path / "run", step)
    return tmp_path / "run"


def test_sound_checkpoints_are_fine_and_named_as_they_were_given(run: Path) -> None:
    result = invoke("verify", run)
    assert result.exit_code == 0
    expected = [f"{run}/checkpoint-5  sound", f"{run}/checkpoint-10  sound"]
    assert result.stdout.splitlines() == expected
    assert result.stderr == ""


def test_an_unsound_checkpoint_fails_with_its_findings_and_what_to_do(run: Path) -> None:
    zero_second_half(run / "checkpoint-10" / "model.safetensors")
    result = invoke("verify", run)
    assert result.exit_code == 1
    assert "checkpoint-10  unsound" in result.stdout
    assert "RD212 error: model.safetensors" in result.stdout
    assert "Resume from an earlier checkpoint." in result.stdout


def test_quick_does_not_read_the_weights_so_it_does_not_see_their_damage(run: Path) -> None:
    zero_second_half(run / "checkpoint-10" / "model.safetensors")
    result = invoke("verify", "--quick", "--json", run / "checkpoint-10")
    assert verdicts(result) == {"checkpoint-10": "sound"}
    assert invoke("verify", "--deep", run / "checkpoint-10").exit_code == 1


def test_a_checkpoint_that_was_never_finished_fails(run: Path) -> None:
    (run / "checkpoint-10" / "trainer_state.json").unlink()
    result = invoke("verify", "--json", run)
    assert result.exit_code == 1
    assert verdicts(result) == {"checkpoint-5": "sound", "checkpoint-10": "incomplete"}


def test_strict_lets_a_degraded_checkpoint_fail(run: Path) -> None:
    (run / "checkpoint-10" / "optimizer.pt").unlink()
    assert verdicts(invoke("verify", "--json", run))["checkpoint-10"] == "degraded"
    assert invoke("verify", run).exit_code == 0
    assert invoke("verify", "--strict", run).exit_code == 1


def test_a_checkpoint_that_cannot_be_read_fails_and_the_others_are_still_judged(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, encoding: Format) -> Content:
        if path.parent.name == "checkpoint-5":
            raise ResumeDaemonError("read", path, "Input/output error", hint="Look at the disk.")
        return read(path, encoding)

    monkeypatch.setattr("resume_daemon.verification.read", refuse)
    result = invoke("verify", "--json", run)
    assert result.exit_code == 1
    assert verdicts(result) == {"checkpoint-10": "sound"}
    errors = json.loads(result.stdout)["errors"]
    assert [error["path"] for error in errors] == [str(run / "checkpoint-5")]
    assert result.stderr == f"Error: {errors[0]['message']}\n"
    assert "Input/output error. Look at the disk." in result.stderr


def test_a_checkpoint_that_is_rotated_while_it_is_read_is_no_failure(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rotate_then_read(path: Path, encoding: Format) -> Content:
        shutil.rmtree(run / "checkpoint-5", ignore_errors=True)
        return read(path, encoding)

    monkeypatch.setattr("resume_daemon.verification.read", rotate_then_read)
    result = invoke("verify", run)
    assert result.exit_code == 0
    assert "checkpoint-5  rotated: the trainer removed it" in result.stdout
    assert "checkpoint-10  sound" in result.stdout


def test_two_runs_are_verified_apart(run: Path, tmp_path: Path) -> None:
    # Step 5 with other weights: compared with the first run's it would look changed.
    write_checkpoint(tmp_path / "other", 5, seed=99)
    result = invoke("verify", "--json", run, tmp_path / "other")
    assert result.exit_code == 0
    shown = json.loads(result.stdout)
    assert [Path(c["path"]).parent.name for c in shown["checkpoints"]] == ["run", "run", "other"]
    paths = [run, tmp_path / "other"]
    assert [c["path"] for c in shown["curriculum"]] == [os.path.realpath(p) for p in paths]


def test_a_name_with_control_characters_and_markup_is_shown_and_not_obeyed(run: Path) -> None:
    weights = run / "checkpoint-5" / "model.safetensors"
    save_file({"w[bold]\x1b[2J": weights_at(5)["model.embed_tokens.weight"]}, weights)
    zero_second_half(weights)
    result = invoke("verify", run / "checkpoint-5")
    assert "w[bold]\\x1b[2J" in result.stdout
    assert "\x1b" not in result.stdout


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("nope", "there is no such directory"),
        ("file", "it is a file, or lies below one"),
        ("file/checkpoint-5", "it is a file, or lies below one"),
        (
            "empty",
            "not a checkpoint that I know: it holds nothing; no file in it fits any layout",
        ),
    ],
)
def test_what_is_no_checkpoint_is_wrong_usage_in_one_sentence_with_the_path(
    tmp_path: Path, name: str, reason: str
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    result = invoke("verify", "--json", tmp_path / name)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith(f"Error: Cannot verify {tmp_path / name}: {reason}. Give")


def test_a_file_named_like_a_checkpoint_is_passed_over(run: Path) -> None:
    (run / "checkpoint-99").touch()
    result = invoke("verify", "--json", run)
    assert set(verdicts(result)) == {"checkpoint-5", "checkpoint-10"}


def watched_once(run: Path, more: str = "") -> None:
    """Let a daemon judge what is there, in a process of its own."""
    config = run.with_name("config.yaml")
    config.write_text(f"run: {run}\nwatch: {{settle_seconds: 0.1}}\n{more}", encoding="utf-8")
    command = [sys.executable, "-m", "resume_daemon", "run", "--config", str(config), "--once"]
    subprocess.run(command, check=False, capture_output=True, timeout=50)


def judged(result: Result) -> dict[str, tuple[bool, int]]:
    """Return of each checkpoint whether an earlier verdict was taken, and the bytes read."""
    found = json.loads(result.stdout)["checkpoints"]
    return {Path(c["path"]).name: (c["judged_at"] is not None, c["bytes_read"]) for c in found}


def test_cached_takes_the_verdicts_of_a_daemon_and_reads_only_what_was_touched_since(
    run: Path,
) -> None:
    zero_second_half(run / "checkpoint-10" / "model.safetensors")
    watched_once(run)
    fresh = invoke("verify", "--json", run)
    assert all(not cached and size for cached, size in judged(fresh).values())
    cached = invoke("verify", "--json", "--cached", run)
    assert judged(cached) == {"checkpoint-5": (True, 0), "checkpoint-10": (True, 0)}
    assert (verdicts(cached), cached.exit_code) == (verdicts(fresh), 1)
    finding = json.loads(cached.stdout)["checkpoints"][1]["findings"][0]
    assert finding == json.loads(fresh.stdout)["checkpoints"][1]["findings"][0] | {"file": None}
    assert "checkpoint-5  sound (judged 20" in invoke("verify", "--cached", run).stdout
    os.utime(run / "checkpoint-5" / "model.safetensors")
    again = judged(invoke("verify", "--json", "--cached", run))
    assert again["checkpoint-10"] == (True, 0)
    assert again["checkpoint-5"][0] is False
    assert again["checkpoint-5"][1] > 0


def test_cached_without_a_daemon_reads_everything(run: Path) -> None:
    found = judged(invoke("verify", "--json", "--cached", run))
    assert all(not cached and size for cached, size in found.values())


def test_cached_does_not_pass_a_quick_verdict_off_as_a_deep_one(run: Path) -> None:
    zero_second_half(run / "checkpoint-10" / "model.safetensors")
    watched_once(run, "verify: {depth: quick}\n")
    assert judged(invoke("verify", "--json", "--cached", "--quick", run))["checkpoint-10"][0]
    assert verdicts(invoke("verify", "--json", "--cached", run))["checkpoint-10"] == "unsound"
