"""``plan``, ``env`` and ``exec`` from outside: what they say, print and start."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.checkpoints import write_arguments, write_checkpoint, write_json
from tests.unit.conftest import REAL_RUN_ID

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

COMMAND = (sys.executable, "-m", "resume_daemon")
STATE = "curriculum_state_detailed.json"
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith("WANDB")}


def run_command(
    arguments: Sequence[str | Path], **environ: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        env={**CLEAN, **environ},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


def write_state(run: Path, step: int) -> None:
    history = [{"step": n, "performance": 0.5, "stage": n // 20} for n in range(1, step + 1)]
    state = {"current_stage": step // 20, "performance_history": history, "timestamp": "t"}
    write_json(run / STATE, state)


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory, real_wandb_directory: Path) -> Path:
    """Return a run of three checkpoints that a daemon has seen, each with its own curriculum."""
    run = tmp_path_factory.mktemp("plan") / "run"
    run.mkdir()
    shutil.copytree(real_wandb_directory, run / "wandb", symlinks=True)
    for step in (10, 20, 30):
        write_state(run, step)
        write_arguments(write_checkpoint(run, step), learning_rate=1e-5, seed=42)
        watched = run_command(["run", "--once", run])
        assert watched.returncode == 0, watched.stderr
    return run


@pytest.fixture
def run(watched: Path, tmp_path: Path) -> Path:
    """Return a copy of that run, for a test to damage."""
    copy = tmp_path / "run"
    shutil.copytree(watched, copy, symlinks=True)
    return copy


def plan(run: Path, *arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run_command(["plan", run, "--json", *arguments]).stdout)
    return found


def test_the_newest_sound_checkpoint_is_taken_with_the_run_and_step_of_wandb(run: Path) -> None:
    found = plan(run)
    assert found["resume_from"]["checkpoint"] == "checkpoint-30"
    assert found["tracker"]["run_id"] == REAL_RUN_ID
    step = found["tracker"]["tracker_step"]
    choices = {each["name"]: each for each in found["tracker_choices"]}
    assert choices["rewind"]["set"] == {"WANDB_RESUME_FROM": f"{REAL_RUN_ID}?_step={step}"}
    assert choices["must"]["set"] == {"WANDB_RUN_ID": REAL_RUN_ID, "WANDB_RESUME": "must"}
    assert (found["reached_step"], found["steps_lost"]) == (40, 10)
    assert found["curriculum"][0]["stage"] == "1"
    assert found["curriculum"][0]["in_place"]
    assert found["parameters"] == {"learning_rate": 1e-5, "seed": 42}


def test_one_look_at_a_run_that_has_ended_finds_the_log_of_wandb_beside_it(
    tmp_path: Path, real_wandb_directory: Path
) -> None:
    run = tmp_path / "run"
    write_checkpoint(run, 30)
    shutil.copytree(real_wandb_directory, tmp_path / "wandb", symlinks=True)
    for path in (tmp_path / "wandb").rglob("*"):
        # It was still written to after the checkpoint.
        os.utime(path, follow_symlinks=False)
    assert run_command(["run", "--once", run]).returncode == 0
    assert plan(run)["tracker"]["run_id"] == REAL_RUN_ID


def test_what_is_damaged_since_it_was_verified_is_refused_and_the_one_before_taken(
    run: Path,
) -> None:
    (run / "checkpoint-30" / "optimizer.pt").write_bytes(b"")
    shown = run_command(["plan", run])
    assert shown.returncode == 0
    lines = shown.stdout.splitlines()
    assert lines[0].startswith("resume from checkpoint-20  sound")
    assert lines[1].startswith("not from checkpoint-30  unsound")
    assert "20 steps are trained again: the run had reached step 40" in lines
    assert "  the run has another one now; put this one back:" in lines


def test_damage_that_leaves_times_and_sizes_alone_is_found_when_asked_to_read_anew(
    run: Path,
) -> None:
    # The copy's files are others than those that the daemon saw.
    assert run_command(["run", "--once", run]).returncode == 0
    weights = run / "checkpoint-30" / "model.safetensors"
    times = weights.stat()
    with weights.open("r+b") as stream:
        stream.seek(-9, os.SEEK_END)
        stream.write(b"\x01")
    os.utime(weights, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert plan(run)["resume_from"]["checkpoint"] == "checkpoint-30"
    assert plan(run, "--anew")["resume_from"]["checkpoint"] == "checkpoint-20"


def test_a_degraded_one_is_taken_only_when_asked_for_and_what_is_lost_is_said(run: Path) -> None:
    (run / "checkpoint-30" / "scheduler.pt").unlink()
    assert plan(run)["resume_from"]["checkpoint"] == "checkpoint-20"
    found = plan(run, "--degraded")["resume_from"]
    assert found["checkpoint"] == "checkpoint-30"
    assert found["why"] == ["RD105 scheduler.pt is missing"]


def test_a_run_that_no_daemon_watched_has_a_plan_as_well(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, 10)
    found = plan(tmp_path)
    assert found["resume_from"]["checkpoint"] == "checkpoint-10"
    assert found["tracker"] is None
    assert found["doubts"] == [
        "No curriculum state was kept for checkpoint-10: no daemon saw it saved."
    ]
    assert not (tmp_path / ".resume_daemon").exists()


def test_a_run_with_nothing_in_it_is_a_sentence_and_status_1(tmp_path: Path) -> None:
    shown = run_command(["plan", tmp_path])
    assert (shown.returncode, shown.stderr) == (1, "")
    assert shown.stdout.splitlines()[1] == ("there is no checkpoint yet; start from the beginning")


def test_a_shell_has_the_environment_after_an_eval(run: Path) -> None:
    script = (
        f'eval "$({sys.executable} -m resume_daemon env {run})" || exit 9\n'
        'printf "%s\\n" "$WANDB_RUN_ID" "$WANDB_RESUME" "${WANDB_RUN_NAME-gone}" '
        '"$RESUME_FROM_CHECKPOINT_DIR"'
    )
    done = subprocess.run(
        ["bash", "-c", script],
        env={**CLEAN, "WANDB_RUN_NAME": "stale"},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.stdout.split() == [REAL_RUN_ID, "must", "gone", str(run / "checkpoint-30")]


def test_an_eval_fails_where_nothing_may_be_resumed_from(tmp_path: Path) -> None:
    script = f'eval "$({sys.executable} -m resume_daemon env {tmp_path})"; echo "status $?"'
    done = subprocess.run(
        ["bash", "-c", script], env=CLEAN, capture_output=True, text=True, timeout=50, check=False
    )
    assert done.stdout == "status 1\n"
    assert "there is no checkpoint yet" in done.stderr


def test_the_file_for_systemd_lies_in_the_sidecar(run: Path) -> None:
    done = run_command(["env", run, "--systemd", "--wandb", "rewind"])
    assert (done.returncode, done.stdout) == (0, "")
    written = (run / ".resume_daemon" / "resume.env").read_text(encoding="utf-8")
    assert f'WANDB_RESUME_FROM="{REAL_RUN_ID}?_step=' in written
    assert "UnsetEnvironment=WANDB_RUN_ID WANDB_RESUME " in written


SHOW = 'printf "%s " "$0" "$WANDB_RUN_ID" "${WANDB_RUN_NAME-gone}"; exit 7'


def test_the_trainer_gets_the_checkpoint_and_the_environment_and_its_status_is_ours(
    run: Path,
) -> None:
    words = ["--", "sh", "-c", SHOW, "{checkpoint}"]
    done = run_command(["exec", run, *words], WANDB_RUN_NAME="stale")
    assert done.stdout.split() == [str(run / "checkpoint-30"), REAL_RUN_ID, "gone"]
    assert done.returncode == 7
    assert "resume from checkpoint-30 (sound)" in done.stderr


def test_nothing_is_started_from_what_is_unsound_unless_forced(run: Path) -> None:
    for step in (10, 20, 30):
        (run / f"checkpoint-{step}" / "model.safetensors").write_bytes(b"")
    refused = run_command(["exec", run, "--", "sh", "-c", "echo started"])
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "checkpoint-30 is unsound (RD" in refused.stderr
    assert ", and so are 2 older ones" in refused.stderr
    forced = run_command(["exec", run, "--force", "--", "sh", "-c", "echo started"])
    assert forced.stdout == "started\n"
    assert "at risk: checkpoint-30: RD" in forced.stderr


def test_another_curriculum_state_is_put_back_only_when_asked_for(run: Path) -> None:
    before = (run / STATE).read_bytes()
    (run / "checkpoint-30" / "model.safetensors").write_bytes(b"")
    words = ["--", "cat", str(run / STATE)]
    refused = run_command(["exec", run, *words])
    assert (refused.returncode, refused.stdout) == (1, "")
    assert f"{STATE} is another one than that of checkpoint-20" in refused.stderr
    kept = run_command(["exec", run, "--curriculum", "keep", *words])
    assert kept.stdout.encode() == before
    restored = run_command(["exec", run, "--curriculum", "restore", *words])
    assert json.loads(restored.stdout)["performance_history"][-1]["step"] == 20


def test_a_first_start_is_from_the_beginning_only_when_that_will_do(tmp_path: Path) -> None:
    words = ["--", "echo", "--from", "{checkpoint}", "end"]
    refused = run_command(["exec", tmp_path, *words])
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "With --or-fresh the trainer starts from the beginning." in refused.stderr
    assert run_command(["exec", tmp_path, "--or-fresh", *words]).stdout == "end\n"


def test_an_unknown_program_is_wrong_usage_before_anything_is_read(run: Path) -> None:
    done = run_command(["exec", run, "--", "no-such-trainer"])
    assert done.returncode == 2
    assert "there is no such program" in done.stderr


def test_a_failed_trainer_is_started_again_until_it_gains_no_step(run: Path) -> None:
    words = ["--", "sh", "-c", 'echo "$RESUME_FROM_CHECKPOINT_DIR"; exit 5']
    done = run_command(["exec", run, "--max-restarts", "9", "--pause", "0", *words])
    assert done.returncode == 5
    assert done.stdout.split() == [str(run / "checkpoint-30")] * 2
    assert "no step was gained since the last start, from step 30" in done.stderr


def test_each_start_is_from_what_the_one_before_has_saved(run: Path) -> None:
    newest = run / "checkpoint-30"
    aside = run.parent / "aside"
    newest.rename(aside)
    script = f'echo "$0"; test -e {newest} && exit 0; mv {aside} {newest}; exit 5'
    words = ["--curriculum", "restore", "--", "sh", "-c", script, "{checkpoint}"]
    done = run_command(["exec", run, "--max-restarts", "1", "--pause", "0", *words])
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(run / "checkpoint-20"), str(newest)]


def test_the_configuration_says_how_a_trainer_is_told_and_is_refused_for_another_run(
    run: Path, tmp_path: Path
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(
        f'run: {run}\nresume: {{arguments: [mode=path, "path={{checkpoint}}"]}}\n',
        encoding="utf-8",
    )
    words = ["--config", str(config), "--", "sh", "-c", 'echo "$@"', "sh"]
    done = run_command(["exec", run, *words])
    assert done.stdout == f"mode=path path={run / 'checkpoint-30'}\n"
    assert "as the configuration says (resume.arguments)" in done.stderr
    other = run_command(["exec", tmp_path, *words])
    assert (other.returncode, other.stdout) == (2, "")
    assert f"{config} is the configuration of {run}" in other.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_signals_reach_the_trainer_and_its_end_is_ours(run: Path, number: signal.Signals) -> None:
    wait = "while :; do read -r _ || :; done"
    script = f"trap 'echo got; exit 3' {number.name.removeprefix('SIG')}; echo ready; {wait}"
    with subprocess.Popen(
        [*COMMAND, "exec", str(run), "--max-restarts", "1", "--", "sh", "-c", script],
        env=CLEAN,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        assert process.stdout.readline() == "got\n"
        if number is signal.SIGUSR1:
            # That asks for no end: it waits to start again, until it is ended. The trainer may
            # still be ending then, and is told so too.
            process.terminate()
            assert process.wait(30) in {-signal.SIGTERM, 3, 128 + signal.SIGTERM}
        else:
            assert process.wait(30) == 3


@pytest.fixture
def backed_up(run: Path, tmp_path: Path) -> Path:
    """Return the directory where the daemon has a backup of the newest checkpoint."""
    disk, config = tmp_path / "disk", tmp_path / "config.yaml"
    disk.mkdir()
    config.write_text(f"run: {run}\nbackup: {{to: {disk}, newest: 1}}\n", encoding="utf-8")
    done = run_command(["run", "--once", "--config", config])
    assert done.returncode == 0, done.stderr
    return disk


def test_the_backup_of_a_refused_checkpoint_is_named_and_its_command_puts_it_back(
    run: Path, backed_up: Path
) -> None:
    assert plan(run)["backups"] == [], "what is resumed from needs none"
    (run / "checkpoint-30" / "optimizer.pt").write_bytes(b"")

    (backup,) = plan(run)["backups"]
    assert (backup["checkpoint"], backup["step"]) == ("checkpoint-30", 30)
    lines = run_command(["plan", run]).stdout.splitlines()
    (line,) = [each for each in lines if each.startswith("checkpoint-30 was backed up")]
    assert "  nothing is put over checkpoint-30: move that away first" in lines
    (run / "checkpoint-30").rename(run / "damaged")
    words = shlex.split(line.partition("UTC: ")[2])
    assert words[0] == "resume-daemon"
    restored = run_command(words[1:])
    assert restored.returncode == 0, restored.stderr
    assert plan(run)["resume_from"]["checkpoint"] == "checkpoint-30"


def test_where_all_checkpoints_are_gone_nothing_begins_anew_unless_it_is_told_twice(
    run: Path, backed_up: Path
) -> None:
    for path in run.glob("checkpoint-*"):
        shutil.rmtree(path)

    found = plan(run)
    assert found["gone"] == ["checkpoint-30", "checkpoint-20", "checkpoint-10"]
    assert [each["checkpoint"] for each in found["backups"]] == ["checkpoint-30"]
    shown = run_command(["plan", run])
    assert shown.returncode == 1
    assert shown.stdout.splitlines()[-1] == (
        "there is no checkpoint any more; the newest of 3 that a daemon found sound was "
        "checkpoint-30: is the right disk mounted, is it the right directory?"
    )
    refused = run_command(["exec", run, "--or-fresh", "--", "true"])
    assert refused.returncode == 1
    assert "no checkpoint any more" in refused.stderr
    assert "how to restore checkpoint-30" in refused.stderr
    preflight = run_command(["doctor", "--preflight", run])
    assert preflight.returncode == 1
    assert "RD871" in preflight.stdout
    forced = run_command(["exec", run, "--or-fresh", "--force", "--", "true"])
    assert forced.returncode == 0, forced.stderr
    assert "no checkpoint any more: the trainer starts from the beginning" in forced.stderr
